#!/usr/bin/env python3
"""Compares calls that were recorded with what the roles who made them may do.

    calls.py MOTO RECORDING... -- ROLE=ACCESS_KEY...

RECORDING holds requests as moto's recorder writes them, one JSON object a line; so does search.py.
Whoever makes calls signs with an access key of its own, which tells one from another. The policies
are those that Terraform has put into the emulator MOTO. Each call that was recorded must be granted,
on its resource where the request names one. Each action that is granted must have been recorded, or
stand in UNSEEN with the reason. Exit: 0 good, 1 something was found, 2 cannot run.

Needs boto3.
"""
import base64
import fnmatch
import json
import re
import sys
import urllib.parse

ACCOUNT = "123456789012"
REGION = "us-east-1"

SERVICES = {"monitoring": "cloudwatch"}

# What the part of a bucket's or object's address behind `?` asks for (Amazon S3, "Actions, resources,
# and condition keys": permissions have other names than calls).
OF_BUCKET = {
    "accelerate": "AccelerateConfiguration", "acl": "BucketAcl", "cors": "BucketCORS", "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration", "logging": "BucketLogging", "notification": "BucketNotification",
    "object-lock": "BucketObjectLockConfiguration", "ownershipControls": "BucketOwnershipControls", "policy": "BucketPolicy",
    "publicAccessBlock": "BucketPublicAccessBlock", "replication": "ReplicationConfiguration", "requestPayment": "BucketRequestPayment",
    "tagging": "BucketTagging", "versioning": "BucketVersioning", "website": "BucketWebsite",
}
OF_OBJECT = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "POST": "PutObject", "DELETE": "DeleteObject"}
OF_CONFIGURATION = {
    "opensearch/domain/twosec": "DescribeDomain", "opensearch/domain/twosec/config": "DescribeDomainConfig",
    "opensearch/compatibleVersions": "GetCompatibleVersions", "tags": "ListTags",
}

# Granted, and not called here.
FAN_OUT = "by a processor that was given a consumer (TWOSEC_FAN_OUT_CONSUMER); moto's Kinesis has no events to subscribe to"
NOT_HERE = "the emulator does not know it: what the provider's sources call as they read"
UNSEEN = {
    "agent": {"s3:GetObject": "user-data.sh fetches package and databases with the host's role: tests/boot"},
    "processor": {
        "kinesis:RegisterStreamConsumer": FAN_OUT, "kinesis:DescribeStreamConsumer": FAN_OUT, "kinesis:SubscribeToShard": FAN_OUT,
        "dynamodb:DeleteItem": "rows of shards that are gone, which moto's one shard never is: processor/src/leases/dynamodb.rs, and its tests",
    },
    "operator": {},
    "setup": {"iam:PassRole": "the domain asks whether the caller may hand it the role of alerts (OpenSearch Service, \"Configuring alerts\")"},
    "deploy": {
        "budgets:ViewBudget": NOT_HERE, "budgets:ListTagsForResource": NOT_HERE,
        "application-autoscaling:DescribeScalableTargets": NOT_HERE, "application-autoscaling:DescribeScalingPolicies": NOT_HERE,
        "application-autoscaling:ListTagsForResource": NOT_HERE,
        "ecs:TagResource": "what is registered with tags is tagged, too (Amazon ECS, \"Grant permission to tag resources on creation\")",
        "cloudwatch:TagResource": "an alarm that is made with tags is tagged, too (PutMetricAlarm, Tags)",
    },
}


def signed(entry):
    """Headers, key and service of a request; the key is None for one that is not signed."""
    headers = {name.lower(): value for name, value in entry["headers"].items()}
    scope = re.search(r"Credential=([^/]+)/\d+/[^/]+/([^/]+)/aws4_request", headers.get("authorization", ""))
    return (headers, scope[1], SERVICES.get(scope[2], scope[2])) if scope else (headers, None, None)


def called(entry):
    """Action, resource (None: the request does not tell) and prefix of one request."""
    headers, _, service = signed(entry)
    body = entry.get("body") or ""
    if entry.get("body_encoded"):
        body = base64.b64decode(body).decode("utf-8", "replace")
    url = urllib.parse.urlsplit(entry["url"])
    path, query = urllib.parse.unquote(url.path), urllib.parse.parse_qs(url.query, keep_blank_values=True)
    if service == "s3":
        return of_s3(entry["method"], path, query)
    if service == "es":
        return *of_search(entry["method"], path), None
    given = {}
    if "x-amz-target" in headers:
        name = headers["x-amz-target"].split(".")[-1]
        given = json.loads(body or "{}")
    elif "/operation/" in path:
        name = path.split("/operation/")[1]
    else:
        given = {name: values[0] for name, values in urllib.parse.parse_qs(body).items()}
        name = given.get("Action")
    if not name:
        raise ValueError(f"what is {entry['method']} {entry['url']} of {service}?")
    return f"{service}:{name}", resource(service, given), None


def of_s3(method, path, query):
    bucket, _, name = path.lstrip("/").partition("/")
    arn = f"arn:aws:s3:::{bucket}"
    verb = "Get" if method == "GET" else "Put"
    if name:
        if "tagging" in query:
            return f"s3:{verb}ObjectTagging", f"{arn}/{name}", None
        return f"s3:{OF_OBJECT[method]}", f"{arn}/{name}", None
    for asked, action in OF_BUCKET.items():
        if asked in query:
            return f"s3:{verb}{action}", arn, None
    if method in ("GET", "HEAD"):
        return "s3:ListBucket", arn, query.get("prefix", [""])[0]
    raise ValueError(f"what is {method} {path} of s3?")


def of_search(method, path):
    """The service's own calls are made elsewhere than those of a domain."""
    if path.startswith("/2021-01-01/"):
        asked = path.removeprefix("/2021-01-01/").rstrip("/")
        if method != "GET" or asked not in OF_CONFIGURATION:
            raise ValueError(f"what is {method} {path} of es?")
        return f"es:{OF_CONFIGURATION[asked]}", None
    return f"es:ESHttp{method.capitalize()}", f"arn:aws:es:{REGION}:{ACCOUNT}:domain/twosec{path}"


def resource(service, given):
    here = f"arn:aws:{service}:{REGION}:{ACCOUNT}"
    if service == "kinesis":
        return given.get("StreamARN") or (given.get("StreamName") and f"{here}:stream/{given['StreamName']}")
    if service == "dynamodb":
        table = given.get("TableName")
        return table and (table if table.startswith("arn:") else f"{here}:table/{table}")
    if service == "iam" and "RoleName" in given:
        return f"arn:aws:iam::{ACCOUNT}:role/{given['RoleName']}"
    if service == "ecs" and "family" in given:
        return f"{here}:task-definition/{given['family']}:1"
    if service == "ecs" and "service" in given:
        return f"{here}:service/twosec/{given['service'].split('/')[-1]}"
    if service == "cloudwatch" and "AlarmName" in given:
        return f"{here}:alarm:{given['AlarmName']}"
    if service == "ssm" and "Name" in given:
        return f"{here}:parameter{given['Name']}"
    return given.get("ResourceARN") or given.get("resourceArn") or given.get("TopicArn")


def handed_over(entry):
    """Roles that a request hands to ECS: who makes it must be allowed to pass them."""
    headers, *_ = signed(entry)
    if not headers.get("x-amz-target", "").endswith(".RegisterTaskDefinition"):
        return []
    body = entry["body"]
    given = json.loads(base64.b64decode(body) if entry.get("body_encoded") else body)
    return [given[role] for role in ("taskRoleArn", "executionRoleArn") if given.get(role)]


def listed(value):
    return value if isinstance(value, list) else [value]


def holds(condition, context):
    """Whether a statement's condition holds; one that knows other keys than these never does."""
    for operator, keys in condition.items():
        for name, wanted in keys.items():
            if operator not in ("StringEquals", "StringLike") or context.get(name) is None:
                return False
            if not any(fnmatch.fnmatchcase(context[name], pattern) for pattern in listed(wanted)):
                return False
    return True


def is_allowed(policies, action, arn, context):
    return any(
        statement["Effect"] == "Allow" and action in listed(statement["Action"]) and holds(statement.get("Condition", {}), context)
        and (arn is None or any(fnmatch.fnmatchcase(arn, pattern) for pattern in listed(statement["Resource"])))
        for policy in policies for statement in policy["Statement"]
    )


def compare(role, policies, calls):
    """What is wrong between a role's policies and the calls that it made."""
    bad = []
    for action, arn, prefix, passed_to in sorted(calls, key=str):
        if action == "sts:GetCallerIdentity":  # needs no permission (AWS STS, "GetCallerIdentity")
            continue
        if not is_allowed(policies, action, arn, {"s3:prefix": prefix, "iam:PassedToService": passed_to}):
            bad.append(f"{role}: {action} was called{f' on {arn}' if arn else ''}{f' for {prefix}' if prefix else ''}, and is not granted")
    granted = {action for policy in policies for statement in policy["Statement"] for action in listed(statement["Action"])}
    seen = {action for action, *_ in calls}
    for action in sorted(granted - seen - set(UNSEEN[role])):
        bad.append(f"{role}: {action} is granted, was not called, and nothing says why")
    for action in sorted(seen & set(UNSEEN[role])):
        bad.append(f"{role}: {action} was called: it need not stand in UNSEEN")
    if not calls:
        bad.append(f"{role}: no call was recorded, so nothing is known")
    print(f"ok   {role}: {len(granted & seen)} of {len(granted)} granted actions were called" if not bad else f"FAIL {role}")
    return bad


def main():
    try:
        import boto3
    except ImportError as cause:
        print(f"calls: {cause}", file=sys.stderr)
        return 2
    if "--" not in sys.argv or len(sys.argv) < 5:
        print(__doc__, file=sys.stderr)
        return 2
    split = sys.argv.index("--")
    moto, recordings, roles = sys.argv[1], sys.argv[2:split], dict(pair.split("=") for pair in sys.argv[split + 1:])
    made = {key: set() for key in roles.values()}
    for path in recordings:
        for line in open(path):
            entry = json.loads(line)
            _, key, _ = signed(entry)
            if key not in made:
                continue
            made[key].add((*called(entry), None))
            made[key].update(("iam:PassRole", role, None, "ecs-tasks.amazonaws.com") for role in handed_over(entry))
    iam = boto3.client("iam", endpoint_url=moto, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test")
    bad = []
    for role, key in roles.items():
        name = f"twosec-{role}"
        names = iam.list_role_policies(RoleName=name)["PolicyNames"]
        policies = [iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"] for policy in names]
        bad += compare(role, policies, made[key])
    for line in bad:
        print("FAIL", line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

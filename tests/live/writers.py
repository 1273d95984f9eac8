"""Writes records of a stream as other producers do, a line of base64 for each.

    writers.py kpl <LINES
    writers.py cloudwatch_logs URL <LINES

Each of LINES is an event. `kpl` is an aggregate by aws_kinesis_agg (Apache-2.0), which AWS
maintains. `cloudwatch_logs` is what the subscription filter of the CloudWatch Logs at URL, which
is moto's (Apache-2.0), delivers into a stream there.
"""

import base64
import sys
import time
import uuid


def kpl(lines):
    from aws_kinesis_agg.aggregator import RecordAggregator

    aggregator = RecordAggregator()
    for number, line in enumerate(lines):
        assert aggregator.add_user_record(f"key-{number % 7}", line.encode()) is None, "one record is enough"
    _, _, data = aggregator.clear_and_get().get_contents()
    return [data]


def cloudwatch_logs(lines, url):
    import boto3

    def client(service):
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, endpoint_url=url, region_name="us-east-1", **keys)

    kinesis, logs = client("kinesis"), client("logs")
    name = f"interop-{uuid.uuid4()}"
    kinesis.create_stream(StreamName=name, ShardCount=1)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    stream = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]
    logs.create_log_group(logGroupName=name)
    logs.create_log_stream(logGroupName=name, logStreamName="web-1")
    role = "arn:aws:iam::123456789012:role/r"
    logs.put_subscription_filter(
        logGroupName=name, filterName="all", filterPattern="", destinationArn=stream, roleArn=role
    )
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": line} for line in lines]
    logs.put_log_events(logGroupName=name, logStreamName="web-1", logEvents=events)
    shard = kinesis.list_shards(StreamName=name)["Shards"][0]["ShardId"]
    iterator = kinesis.get_shard_iterator(StreamName=name, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    records = kinesis.get_records(ShardIterator=iterator["ShardIterator"])["Records"]
    assert records, "the subscription filter delivers"
    return [record["Data"] for record in records]


producer = {"kpl": kpl, "cloudwatch_logs": cloudwatch_logs}[sys.argv[1]]
for data in producer(sys.stdin.read().splitlines(), *sys.argv[2:]):
    print(base64.b64encode(data).decode())

"""Reads records of a stream with libraries that AWS maintains for consumers.

    readers.py FORMAT <RECORDS

RECORDS are lines of base64, a stream record each, in the agent's `stream.format` FORMAT
(`kpl`, `cloudwatch_logs` or `ecs`). Prints `{"id": ..., "line": ...}` for each event.

`kpl` is read by aws_kinesis_agg (Apache-2.0), which checks the MD5, `cloudwatch_logs` by
the model of AWS Lambda Powertools (MIT-0), `ecs` by gzip and json alone.
"""

import base64
import gzip
import json
import sys


def record_of_lambda(data):
    """A record as Lambda hands it to a consumer (Lambda's guide, "Process Kinesis records")."""
    kinesis = {
        "kinesisSchemaVersion": "1.0",
        "partitionKey": "k",
        "sequenceNumber": "1",
        "approximateArrivalTimestamp": 1.5,
        "data": data,
    }
    return {
        "kinesis": kinesis,
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": "shardId-000000000000:1",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": "arn:aws:iam::000000000000:role/r",
        "awsRegion": "us-east-1",
        "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
    }


def of_document(text):
    event = json.loads(text)["event"]
    return {"id": event["id"], "line": event["original"]}


def kpl(data):
    from aws_kinesis_agg.deaggregator import deaggregate_records

    records = deaggregate_records(record_of_lambda(data))
    # What is no valid aggregate is handed on as it is.
    assert all(record["kinesis"].get("aggregated") for record in records), "no aggregated record"
    return [of_document(base64.b64decode(record["kinesis"]["data"])) for record in records]


def cloudwatch_logs(data):
    from aws_lambda_powertools.utilities.parser.models import KinesisDataStreamRecord
    from aws_lambda_powertools.utilities.parser.models.kinesis import extract_cloudwatch_logs_from_record

    record = extract_cloudwatch_logs_from_record(KinesisDataStreamRecord(**record_of_lambda(data)))
    assert record.messageType == "DATA_MESSAGE", record.messageType
    return [{"id": event.id, "line": event.message} for event in record.logEvents]


def ecs(data):
    return [of_document(text) for text in gzip.decompress(base64.b64decode(data)).splitlines()]


READERS = {"kpl": kpl, "cloudwatch_logs": cloudwatch_logs, "ecs": ecs}

if __name__ == "__main__":
    read = READERS[sys.argv[1]]
    for line in sys.stdin:
        for event in read(line.strip()):
            print(json.dumps(event))

-- The archive as a table of Athena. Write your bucket for BUCKET and your stream for STREAM; the
-- database is yours (`twosec` here). Each statement is run by itself.
--
-- Nothing has to be loaded or crawled: a partition is an hour of arrival, and Athena computes
-- where it lies (partition projection). Name `dt` in each query, or all years are read.
-- Lines in Glacier Instant Retrieval are read as they are; those in Deep Archive are left out.

CREATE DATABASE IF NOT EXISTS twosec;

-- A line of an object is an event, a record that could not be read (it has `reason` and
-- `data_b64`), or the object's first line, which tells of the object and has no `id`.
CREATE EXTERNAL TABLE IF NOT EXISTS twosec.lines (
  `id` string COMMENT 'the event; the _id of its document',
  `time` bigint COMMENT 'milliseconds since 1970: its own time, or when it was read',
  `day` string COMMENT 'of a line without a time of its own: the day in whose index it stands',
  `offset` bigint COMMENT 'where the line begins in its file',
  `length` bigint COMMENT 'its bytes in the file',
  `cut` boolean COMMENT 'whether only its head is here',
  `line` string COMMENT 'the line as it left the host',
  `line_b64` string COMMENT 'instead of `line`, where it is no UTF-8',
  `attack` struct<score:int,findings:array<struct<rule:string,category:string,confidence:string,score:int,field:string,parameter:string,layer:int,excerpt:string>>> COMMENT 'what the rules found in it',
  `context` struct<outcome:array<string>,categories:array<string>,incident:string> COMMENT 'what other lines told of it',
  `client` string COMMENT 'who is behind a balancer',
  `source` struct<geo:struct<continent_code:string,country_iso_code:string,country_name:string,region_iso_code:string,region_name:string,city_name:string>,provider:string> COMMENT 'where clients are',
  `duplicate_of` string COMMENT 'the log in which the same line stands, too',
  `masks` array<array<string>> COMMENT 'what was masked in the index and not here',
  `gap` string COMMENT 'of a gap: what is missing, and why',
  `incident` struct<id:string,revision:int,actor:string,first_seen:bigint,last_seen:bigint,requests:bigint,findings:bigint,categories:map<string,bigint>,behaviour:array<string>,user_agents:array<string>,outcome:string,outcome_reason:string,score:int,severity:string,is_over:boolean> COMMENT 'a revision of an incident',
  `record` string COMMENT 'of other producers: the JSON object in which the line stood',
  `host` struct<id:string,name:string>,
  `cloud` struct<provider:string,region:string,availability_zone:string,account_id:string,instance_id:string,machine_type:string,vpc_id:string,image_id:string,tags:map<string,string>>,
  `container` struct<id:string,name:string,labels:map<string,string>>,
  `path` string COMMENT 'the log file',
  `life` string COMMENT 'one run of bytes, whatever its file was called',
  `format` string COMMENT 'how the line is written',
  `timezone` string COMMENT 'of times that tell none, where it is not UTC',
  `ruleset` string COMMENT 'version of the rules that judged it',
  `agent` string COMMENT 'version of the agent',
  `sequence` string COMMENT 'of a record that could not be read: its sequence number',
  `arrival` bigint COMMENT 'when that record arrived',
  `reason` string COMMENT 'why it could not be read',
  `data_b64` string COMMENT 'its bytes',
  `part` int COMMENT 'which record of an aggregate it was, counted from 0'
)
PARTITIONED BY (`dt` string, `hour` string)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('ignore.malformed.json' = 'true', 'case.insensitive' = 'true')
STORED AS TEXTFILE
LOCATION 's3://BUCKET/raw/STREAM/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = '2026-01-01,NOW+1DAYS',
  'projection.hour.type' = 'integer',
  'projection.hour.range' = '0,23',
  'projection.hour.digits' = '2',
  'storage.location.template' = 's3://BUCKET/raw/STREAM/dt=${dt}/hour=${hour}/'
);

-- The requests among them, each once: a record that was sent twice has its lines twice.
CREATE OR REPLACE VIEW twosec.requests AS
SELECT
  id,
  min(from_unixtime(time / 1000e0)) AS at,
  arbitrary(host.name) AS host,
  arbitrary(path) AS path,
  arbitrary(coalesce(client, regexp_extract(line, '^(?:[^ ]+:\d+ )?([^ ]+) ', 1))) AS client,
  arbitrary(regexp_extract(line, '"([A-Z]+) ([^ "]*)', 2)) AS url,
  arbitrary(try_cast(regexp_extract(line, '" (\d{3}) ', 1) AS integer)) AS status,
  arbitrary(attack.score) AS score,
  arbitrary(transform(attack.findings, f -> f.category)) AS categories,
  arbitrary(line) AS line,
  dt
FROM twosec.lines
WHERE id IS NOT NULL AND gap IS NULL AND incident IS NULL AND line IS NOT NULL
GROUP BY id, dt;

-- Who attacked on one day, and with what?
SELECT client, count(*) AS requests, array_distinct(flatten(array_agg(categories))) AS categories
FROM twosec.requests
WHERE dt = '2026-11-16' AND score IS NOT NULL
GROUP BY client
ORDER BY requests DESC
LIMIT 20;

-- Every line of one address in two weeks, for evidence.
SELECT at, host, path, line
FROM twosec.requests
WHERE dt BETWEEN '2026-11-03' AND '2026-11-16' AND client = '203.0.113.7'
ORDER BY at;

-- What could not be read?
SELECT dt, hour, reason, count(*) AS records
FROM twosec.lines
WHERE dt >= '2026-11-01' AND reason IS NOT NULL
GROUP BY dt, hour, reason;

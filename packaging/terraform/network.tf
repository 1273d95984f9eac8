# A VPC with a public and a private subnet in each zone. The private ones reach S3 and
# DynamoDB by gateway endpoints, which are free, and all else only with `nat`.

data "aws_availability_zones" "here" {
  state = "available"
  # Local zones and the like have neither Fargate nor OpenSearch.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

locals {
  # Sorted: a zone that AWS adds comes at the end, and moves nothing.
  zones      = slice(sort(data.aws_availability_zones.here.names), 0, var.zones)
  nat_count  = { none = 0, single = 1, per_az = var.zones }[var.nat]
  has_nat    = var.nat != "none"
  task_nets  = local.has_nat ? aws_subnet.private[*].id : aws_subnet.public[*].id
  new_bits   = 24 - tonumber(split("/", var.vpc_cidr)[1])
  max_subnet = pow(2, local.new_bits)
}

resource "aws_vpc" "this" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = var.name }
}

# Who forgets to name a security group gets one that lets nothing through.
resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-default-closed" }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = var.name }
}

resource "aws_subnet" "public" {
  count             = var.zones
  vpc_id            = aws_vpc.this.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.vpc_cidr, local.new_bits, count.index)
  tags              = { Name = "${var.name}-public-${count.index}" }
}

resource "aws_subnet" "private" {
  count             = var.zones
  vpc_id            = aws_vpc.this.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.vpc_cidr, local.new_bits, local.max_subnet / 2 + count.index)
  tags              = { Name = "${var.name}-private-${count.index}" }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-public" }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  count          = var.zones
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_route_table" "private" {
  count  = var.zones
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-private-${count.index}" }
}

resource "aws_route_table_association" "private" {
  count          = var.zones
  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private[count.index].id
}

resource "aws_eip" "nat" {
  count  = local.nat_count
  domain = "vpc"
  tags   = { Name = "${var.name}-nat-${count.index}" }
}

resource "aws_nat_gateway" "this" {
  count         = local.nat_count
  allocation_id = aws_eip.nat[count.index].id
  subnet_id     = aws_subnet.public[count.index].id
  tags          = { Name = "${var.name}-${count.index}" }
  depends_on    = [aws_internet_gateway.this]
}

resource "aws_route" "nat" {
  count                  = local.has_nat ? var.zones : 0
  route_table_id         = aws_route_table.private[count.index].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[var.nat == "per_az" ? count.index : 0].id
}

resource "aws_vpc_endpoint" "gateway" {
  for_each          = toset(["s3", "dynamodb"])
  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${local.region}.${each.key}"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = concat([aws_route_table.public.id], aws_route_table.private[*].id)
  tags              = { Name = "${var.name}-${each.key}" }
}

resource "aws_cloudwatch_log_group" "flow" {
  count             = var.flow_log_days > 0 ? 1 : 0
  name              = "/${var.name}/flow"
  retention_in_days = var.flow_log_days
  kms_key_id        = var.kms_key_arn
}

resource "aws_iam_role" "flow" {
  count              = var.flow_log_days > 0 ? 1 : 0
  name               = "${var.name}-flow"
  assume_role_policy = templatefile("${path.module}/iam/trust-service.json.tftpl", { service = "vpc-flow-logs.amazonaws.com", account = local.account })
}

resource "aws_iam_role_policy" "flow" {
  count  = var.flow_log_days > 0 ? 1 : 0
  name   = "flow"
  role   = aws_iam_role.flow[0].id
  policy = templatefile("${path.module}/iam/flow.json.tftpl", { log_group = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/${var.name}/flow" })
}

resource "aws_flow_log" "this" {
  count           = var.flow_log_days > 0 ? 1 : 0
  vpc_id          = aws_vpc.this.id
  traffic_type    = "ALL"
  log_destination = aws_cloudwatch_log_group.flow[0].arn
  iam_role_arn    = aws_iam_role.flow[0].arn
  tags            = { Name = var.name }
}

# ---- who may talk to whom -------------------------------------------------------------------

resource "aws_security_group" "processor" {
  name        = "${var.name}-processor"
  description = "The processor: calls out, is called by nobody"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${var.name}-processor" }
}

# Kinesis, S3, DynamoDB, ECR and CloudWatch have no fixed addresses.
resource "aws_vpc_security_group_egress_rule" "processor_https" {
  security_group_id = aws_security_group.processor.id
  description       = "AWS services and the domain"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_security_group" "search" {
  count       = var.search_in_vpc ? 1 : 0
  name        = "${var.name}-search"
  description = "The domain: is called by the processor and by named clients"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${var.name}-search" }
}

resource "aws_vpc_security_group_ingress_rule" "search_from_processor" {
  count                        = var.search_in_vpc ? 1 : 0
  security_group_id            = aws_security_group.search[0].id
  description                  = "the processor indexes"
  referenced_security_group_id = aws_security_group.processor.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_ingress_rule" "search_from_clients" {
  for_each                     = toset(var.search_in_vpc ? var.search_client_security_groups : [])
  security_group_id            = aws_security_group.search[0].id
  description                  = "people who search"
  referenced_security_group_id = each.key
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_security_group" "host" {
  count       = var.host_enabled ? 1 : 0
  name        = "${var.name}-host"
  description = "The host: DVWA for those who are named, nothing else"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${var.name}-host" }
}

resource "aws_vpc_security_group_ingress_rule" "dvwa" {
  for_each          = toset(var.host_enabled && var.dvwa_enabled ? var.dvwa_allowed_cidrs : [])
  security_group_id = aws_security_group.host[0].id
  description       = "DVWA"
  cidr_ipv4         = each.key
  ip_protocol       = "tcp"
  from_port         = 80
  to_port           = 80
}

# The agent and SSM need 443; so do the registries that DVWA comes from. Nothing else
# goes out: what breaks out of DVWA finds no mail server and no other port.
resource "aws_vpc_security_group_egress_rule" "host_https" {
  count             = var.host_enabled ? 1 : 0
  security_group_id = aws_security_group.host[0].id
  description       = "AWS services, packages and container registries"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

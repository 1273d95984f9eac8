# The host that is attacked: DVWA in containers, the agent beside them. No key, no SSH: whoever
# needs a shell comes by SSM.

data "aws_ssm_parameter" "ami" {
  count = var.host_enabled && var.host_ami == null ? 1 : 0
  name  = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${var.host_arch == "arm64" ? "arm64" : "x86_64"}"
}

locals {
  host_ami = var.host_ami != null ? var.host_ami : one(data.aws_ssm_parameter.ami[*].insecure_value)

  # user-data.sh is a plain script that reads its settings from the environment, so that it can
  # be linted as it is and started by hand. The template only puts the settings before it; tests/boot
  # boots hosts with what it makes.
  user_data = templatefile("${path.module}/user-data.tftpl", {
    region        = local.region
    stream        = var.name
    format        = var.agent_format
    package       = "s3://${local.artifacts_bucket}/${local.agent_key}"
    sha256        = local.agent_sha256
    geoip         = [for object in aws_s3_object.geoip : "s3://${local.artifacts_bucket}/${object.key}"]
    dvwa          = var.dvwa_enabled
    dvwa_image    = var.dvwa_image
    mariadb_image = var.mariadb_image
    script        = file("${path.module}/../user-data.sh")
  })
}

resource "aws_iam_role" "agent" {
  name               = "${var.name}-agent"
  assume_role_policy = templatefile("${path.module}/iam/trust-service.json.tftpl", { service = "ec2.amazonaws.com", account = "" })
}

resource "aws_iam_role_policy" "agent" {
  name   = "agent"
  role   = aws_iam_role.agent.id
  policy = local.agent_policy
}

locals {
  agent_policy = templatefile("${path.module}/iam/agent.json.tftpl", local.policy_values)
}

# Session Manager instead of SSH. This is AWS's own policy for its SSM agent.
resource "aws_iam_role_policy_attachment" "ssm" {
  count      = var.host_session_manager ? 1 : 0
  role       = aws_iam_role.agent.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "agent" {
  name = "${var.name}-agent"
  role = aws_iam_role.agent.name
}

resource "aws_instance" "host" {
  count                       = var.host_enabled ? 1 : 0
  ami                         = local.host_ami
  instance_type               = var.host_instance_type
  subnet_id                   = aws_subnet.public[0].id
  vpc_security_group_ids      = [aws_security_group.host[0].id]
  iam_instance_profile        = aws_iam_instance_profile.agent.name
  associate_public_ip_address = true
  ebs_optimized               = true
  # Packed: EC2 takes 16 KB, and cloud-init unpacks gzip by itself.
  user_data_base64 = base64gzip(local.user_data)

  # A container on Docker's bridge is one hop further away: it cannot get the host's role.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = var.host_disk_gib
    encrypted   = true
    kms_key_id  = var.kms_key_arn
  }

  tags = { Name = "${var.name}-host" }

  lifecycle {
    # A newer image, package or setting is no reason to lose a host with its logs, nor to stop it:
    # user data runs once. `terraform apply -replace` makes a new host.
    ignore_changes = [ami, user_data_base64]
  }

  depends_on = [aws_s3_object.agent, aws_s3_object.geoip, aws_iam_role_policy.agent, aws_kinesis_stream.this, aws_route.internet]
}

check "images_are_pinned" {
  assert {
    condition     = !var.host_enabled || !var.dvwa_enabled || alltrue([for image in [var.dvwa_image, var.mariadb_image] : strcontains(image, "@sha256:")])
    error_message = "DVWA's images are named by tag: what the host runs may change from one day to the next. Give dvwa_image and mariadb_image with their digests."
  }
}

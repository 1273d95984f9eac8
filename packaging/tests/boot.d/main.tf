# Renders the user data as the module does, with no provider: `packaging/tests/boot` boots hosts
# with what comes out.

variable "sha256" {
  description = "The hash of the package that lies in the bucket."
  type        = string
}

locals {
  template = "${path.module}/../../terraform/user-data.tftpl"
  values = {
    region        = "us-east-1"
    stream        = "twosec"
    format        = "frame"
    package       = "s3://bucket/agent.deb"
    sha256        = var.sha256
    geoip         = [for name in ["GeoLite2-ASN-Test", "is-not-there", "is-none"] : "s3://bucket/${name}.mmdb"]
    dvwa          = true
    dvwa_image    = "example.com/dvwa:1"
    mariadb_image = "example.com/mariadb:1"
    script        = file("${path.module}/../../user-data.sh")
  }
  wrong = merge(local.values, { sha256 = join("", [for _ in range(64) : "0"]) })
}

# Packed, as host.tf hands it to EC2.
output "user_data" {
  value = base64gzip(templatefile(local.template, local.values))
}

output "user_data_of_another_hash" {
  value = base64gzip(templatefile(local.template, local.wrong))
}

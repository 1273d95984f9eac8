# ---- all parts ------------------------------------------------------------------------------

variable "name" {
  description = "What the names of all parts begin with. It is also the name of the stream and of the OpenSearch domain."
  type        = string
  default     = "twosec"
  validation {
    # The domain's rule is the strictest: OpenSearch Service, "CreateDomain", DomainName.
    condition     = can(regex("^[a-z][a-z0-9-]{2,19}$", var.name))
    error_message = "Write 3 to 20 lower-case letters, digits or `-`, beginning with a letter."
  }
}

variable "kms_key_arn" {
  description = "A KMS key of your own for stream, archive, leases, index, image repository, logs and alarms. Its key policy must allow logs.REGION.amazonaws.com and cloudwatch.amazonaws.com to use it. Without one, keys that AWS keeps are used; all data is encrypted either way."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "Write the ARN of a key (arn:aws:kms:...:key/...), not of an alias."
  }
}

variable "protect_data" {
  description = "Whether `terraform destroy` is refused an archive that holds lines, a repository that holds images, and the lease table. The stream, the domain with its index, and the host go either way; indices can be made again of the archive (`twosec-processor replay`). Switch it off, apply, then destroy."
  type        = bool
  default     = true
}

variable "log_days" {
  description = "Days for which the processor's own messages are kept in CloudWatch Logs."
  type        = number
  default     = 30
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827], var.log_days)
    error_message = "CloudWatch Logs knows 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096 and 1827 days."
  }
}

# ---- network --------------------------------------------------------------------------------

variable "vpc_cidr" {
  description = "Addresses of the VPC that is made; a /16 to /20."
  type        = string
  default     = "10.20.0.0/16"
  validation {
    condition     = can(cidrhost(var.vpc_cidr, 0)) && can(regex("/(1[6-9]|20)$", var.vpc_cidr))
    error_message = "Write an IPv4 network such as 10.20.0.0/16; /16 to /20."
  }
}

variable "zones" {
  description = "Availability zones to use: 2, or 3 for a domain of three nodes."
  type        = number
  default     = 2
  validation {
    condition     = contains([2, 3], var.zones)
    error_message = "Use 2 or 3."
  }
}

variable "nat" {
  description = "How tasks reach AWS: `none` (they stand in public subnets with a public address and let nobody in), `single` (private subnets, one NAT gateway, some 33 USD a month) or `per_az`."
  type        = string
  default     = "none"
  validation {
    condition     = contains(["none", "single", "per_az"], var.nat)
    error_message = "Use none, single or per_az."
  }
}

variable "flow_log_days" {
  description = "Days for which the VPC's flow logs are kept in CloudWatch Logs; 0 keeps none."
  type        = number
  default     = 0
  validation {
    condition     = contains([0, 1, 3, 5, 7, 14, 30, 60, 90, 180, 365], var.flow_log_days)
    error_message = "Use 0, 1, 3, 5, 7, 14, 30, 60, 90, 180 or 365."
  }
}

# ---- stream ---------------------------------------------------------------------------------

variable "stream_shards" {
  description = "Shards of the stream: each takes 1 MB of frames a second, which is some 30,000 lines. 0 chooses on-demand mode, which costs some 29 USD a month before the first byte."
  type        = number
  default     = 1
  validation {
    condition     = var.stream_shards >= 0 && var.stream_shards <= 200 && floor(var.stream_shards) == var.stream_shards
    error_message = "Use a whole number from 0 to 200."
  }
}

variable "stream_retention_hours" {
  description = "How long the stream keeps what the processor has not read: 24 to 8760 hours. More than 24 costs extra for each shard."
  type        = number
  default     = 24
  validation {
    condition     = var.stream_retention_hours >= 24 && var.stream_retention_hours <= 8760
    error_message = "Use 24 to 8760."
  }
}

# ---- archive --------------------------------------------------------------------------------

variable "archive_bucket" {
  description = "Name of the bucket for the archive; the default is made of name, account and region."
  type        = string
  default     = null
  validation {
    condition     = var.archive_bucket == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.archive_bucket))
    error_message = "Write 3 to 63 lower-case letters, digits or `-`."
  }
}

variable "archive_instant_retrieval_days" {
  description = "Age in days at which archived lines move to Glacier Instant Retrieval, which is read like any other object. 0 never moves them."
  type        = number
  default     = 90
  validation {
    condition     = var.archive_instant_retrieval_days >= 0
    error_message = "Use 0 or more."
  }
}

variable "archive_deep_days" {
  description = "Age in days at which archived lines move to Glacier Deep Archive; 0 never. Athena and `twosec-processor replay` cannot read what lies there until it has been restored, which takes hours."
  type        = number
  default     = 0
  validation {
    condition     = var.archive_deep_days == 0 || var.archive_deep_days >= var.archive_instant_retrieval_days + 90
    error_message = "Glacier Instant Retrieval bills 90 days at least: use 0, or `archive_instant_retrieval_days` and 90 more."
  }
}

variable "archive_expire_days" {
  description = "Age in days at which archived lines are deleted; 0 keeps them."
  type        = number
  default     = 0
  validation {
    condition     = var.archive_expire_days == 0 || var.archive_expire_days > max(var.archive_instant_retrieval_days, var.archive_deep_days)
    error_message = "Use 0, or more days than until the last move to another class."
  }
}

variable "archive_lock_days" {
  description = "Days for which nobody, root included, can delete or change an archived object (object lock, compliance mode); 0 sets none. The bucket must be made with it: changing between 0 and another number later makes a new bucket."
  type        = number
  default     = 0
  validation {
    condition     = var.archive_lock_days >= 0 && var.archive_lock_days <= 36500
    error_message = "Use 0 to 36500."
  }
}

# ---- search ---------------------------------------------------------------------------------

variable "search_engine_version" {
  description = "Version of OpenSearch. The index template needs 2.12 or later."
  type        = string
  default     = "OpenSearch_2.19"
  validation {
    condition     = can(regex("^OpenSearch_(2\\.(1[2-9]|[2-9][0-9])|[3-9]\\.[0-9]+)$", var.search_engine_version))
    error_message = "Write OpenSearch_2.12 or later."
  }
}

variable "search_instance_type" {
  description = "Instance type of the data nodes."
  type        = string
  default     = "t3.small.search"
  validation {
    condition     = endswith(var.search_instance_type, ".search")
    error_message = "Types of OpenSearch Service end with .search."
  }
}

variable "search_nodes" {
  description = "Data nodes: 1, or a multiple of `zones`, so that each zone has as many."
  type        = number
  default     = 1
  validation {
    condition     = var.search_nodes == 1 || (var.search_nodes > 0 && var.search_nodes % var.zones == 0)
    error_message = "Use 1 or a multiple of `zones`."
  }
}

variable "search_dedicated_masters" {
  description = "Whether three dedicated master nodes (m6g.large.search) run the cluster; worth it from three data nodes on."
  type        = bool
  default     = false
}

variable "search_disk_gib" {
  description = "Disk of each data node in GiB."
  type        = number
  default     = 20
  validation {
    condition     = var.search_disk_gib >= 10 && var.search_disk_gib <= 3072
    error_message = "Use 10 to 3072."
  }
}

variable "search_in_vpc" {
  description = "Whether the domain stands in the VPC. Otherwise it has a public address, with fine-grained access in front of it. It cannot be changed later: the domain is made anew."
  type        = bool
  default     = true
}

variable "search_allowed_cidrs" {
  description = "Networks from which people may reach a public domain and its Dashboards. None by default; the processor's role is let in apart from this."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for cidr in var.search_allowed_cidrs : can(cidrhost(cidr, 0)) && !strcontains(cidr, ":")])
    error_message = "Write IPv4 networks such as 198.51.100.0/24."
  }
  validation {
    # Two halves are the whole internet, too.
    condition     = alltrue([for cidr in var.search_allowed_cidrs : try(tonumber(split("/", cidr)[1]) >= 8, true)])
    error_message = "A network larger than a /8 is most of the internet: name smaller ones."
  }
}

variable "search_client_security_groups" {
  description = "Security groups whose members may reach a domain in the VPC, such as that of a VPN or a bastion. The host with DVWA does not belong here: it is attacked."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for id in var.search_client_security_groups : can(regex("^sg-[0-9a-f]{8,17}$", id))])
    error_message = "Write ids of security groups, such as sg-0123456789abcdef0."
  }
}

variable "search_master_user" {
  description = "Name of the domain's first user, who sets up roles and logs into Dashboards. It counts with search_master_password."
  type        = string
  default     = "twosec-admin"
  validation {
    # OpenSearch Service, "MasterUserOptions": 1 to 64 characters. A colon would end the name in HTTP
    # basic authentication.
    condition     = can(regex("^[A-Za-z0-9._@-]{1,64}$", var.search_master_user))
    error_message = "Use 1 to 64 letters, digits, `.`, `_`, `@` or `-`."
  }
}

variable "search_master_password" {
  description = "Password of the domain's first user. It stands in Terraform's state, so keep the state in an encrypted place; give it as TF_VAR_search_master_password. For a domain in the VPC it lies in an SSM parameter (SecureString), from which the task that sets up the domain gets it. With neither this nor search_master_arn the role of that task is the domain's first user, and Dashboards needs a login of its own (SAML)."
  type        = string
  default     = null
  sensitive   = true
  validation {
    # OpenSearch Service, "Fine-grained access control": the rule for the master user.
    condition = var.search_master_password == null || alltrue([
      for pattern in ["^.{8,128}$", "[a-z]", "[A-Z]", "[0-9]", "[^a-zA-Z0-9]"] : can(regex(pattern, var.search_master_password))
    ])
    error_message = "Use 8 to 128 characters with a small letter, a capital, a digit and something else."
  }
  validation {
    condition     = var.search_master_password == null || var.search_master_arn == null
    error_message = "The domain has one first user: give search_master_password or search_master_arn, not both."
  }
}

variable "search_master_arn" {
  description = "An IAM role or user as the domain's first user, instead of a password. Dashboards then needs a login of its own (SAML or Cognito), and whoever has this role lets in the role that sets up the domain (output next_commands)."
  type        = string
  default     = null
  validation {
    condition     = var.search_master_arn == null || can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/.+$", var.search_master_arn))
    error_message = "Write the ARN of a role or user of IAM, not of a session (arn:aws:iam::123456789012:role/NAME)."
  }
}

variable "search_readers" {
  description = "IAM roles, or other backend roles of the domain, whose people may search and look at dashboards, and change nothing. Dashboards asks for OpenSearch's own role `opensearch_dashboards_user` as well."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for reader in var.search_readers : can(regex("^[A-Za-z0-9:/_+=,.@-]+$", reader))])
    error_message = "Write ARNs of roles, or names of backend roles."
  }
}

variable "index_retention_days" {
  description = "Days after which an index is deleted, from when `twosec-processor setup` has run; the archive keeps the lines. 0 deletes none."
  type        = number
  default     = 90
  validation {
    # As `setup --retention-days`: an index is packed on its third day.
    condition     = var.index_retention_days == 0 || (var.index_retention_days >= 4 && floor(var.index_retention_days) == var.index_retention_days)
    error_message = "Use 0, or a whole number from 4."
  }
}

variable "search_service_linked_role" {
  description = "Whether to make AWSServiceRoleForAmazonOpenSearchService, which a domain in a VPC needs and which exists once for each account. Leave it `false` where it is there already."
  type        = bool
  default     = false
}

# ---- host -----------------------------------------------------------------------------------

variable "host_enabled" {
  description = "Whether to make a host with DVWA and the agent. Hosts of your own need the agent's package and the policy `agent` (output agent_policy)."
  type        = bool
  default     = true
}

variable "host_arch" {
  description = "Architecture of host and package: arm64 or amd64."
  type        = string
  default     = "arm64"
  validation {
    condition     = contains(["arm64", "amd64"], var.host_arch)
    error_message = "Use arm64 or amd64."
  }
}

variable "host_instance_type" {
  description = "Instance type of the host. It must be of host_arch."
  type        = string
  default     = "t4g.small"
  validation {
    # AWS marks its ARM processors by a `g` behind the generation: t4g, c7gn, m8gd.
    condition     = can(regex("^[a-z]+[0-9]+g[a-z]*\\.", var.host_instance_type)) == (var.host_arch == "arm64")
    error_message = "The type is of another architecture than host_arch: t4g.small is arm64, t3.small is amd64."
  }
}

variable "host_ami" {
  description = "Image of the host: Amazon Linux 2023, or Debian or Ubuntu. The default is the newest Amazon Linux 2023; a newer one does not replace a host that runs. Only HTTPS leaves the host, so an image of your own brings Docker (where the host runs DVWA) and the SSM agent (for Session Manager) along: the mirrors of Ubuntu, for one, are plain HTTP."
  type        = string
  default     = null
  validation {
    condition     = var.host_ami == null || can(regex("^ami-[0-9a-f]{8,17}$", var.host_ami))
    error_message = "Write the id of an image, such as ami-0123456789abcdef0."
  }
}

variable "host_disk_gib" {
  description = "Root disk of the host in GiB: logs, Docker's images and the agent's spool."
  type        = number
  default     = 20
  validation {
    condition     = var.host_disk_gib >= 10
    error_message = "Use 10 or more."
  }
}

variable "host_session_manager" {
  description = "Whether a shell on the host can be had by SSM's Session Manager. There is no SSH either way."
  type        = bool
  default     = true
}

variable "agent_package" {
  description = "Path of the agent's package on this machine (.rpm for Amazon Linux, .deb for Debian and Ubuntu). It is put into S3, and the host checks its SHA-256."
  type        = string
  default     = null
  validation {
    condition     = var.agent_package == null || can(regex("\\.(rpm|deb)$", var.agent_package))
    error_message = "Give the path of an .rpm or a .deb."
  }
  validation {
    condition     = !var.host_enabled || var.agent_package != null
    error_message = "The host needs the agent: give agent_package, or set host_enabled = false."
  }
}

variable "geoip_files" {
  description = "Paths of MaxMind databases on this machine (GeoLite2 Country and ASN: .mmdb), of which the agent tells where clients are. They are put into S3, and the host fetches them when it is made. City, which stands in memory twice while it is replaced, wants a higher MemoryHigh of the agent's unit. Without them documents have no `source.geo` and `source.as`."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for path in var.geoip_files : can(regex("^[A-Za-z0-9._-]+\\.mmdb$", basename(path)))])
    error_message = "Give paths of .mmdb files."
  }
  validation {
    condition     = length(distinct([for path in var.geoip_files : basename(path)])) == length(var.geoip_files)
    error_message = "Each file wants a name of its own."
  }
}

variable "agent_format" {
  description = "What the agent's records hold: `frame`; `cloudwatch_logs`, `ecs` or `kpl` for consumers that are there already."
  type        = string
  default     = "frame"
  validation {
    condition     = contains(["frame", "cloudwatch_logs", "ecs", "kpl"], var.agent_format)
    error_message = "Use frame, cloudwatch_logs, ecs or kpl."
  }
}

variable "dvwa_enabled" {
  description = "Whether the host runs DVWA, a web application that is vulnerable on purpose."
  type        = bool
  default     = true
}

variable "dvwa_allowed_cidrs" {
  description = "Networks from which DVWA can be reached. None by default: look at it through SSM then (output next_commands)."
  type        = list(string)
  default     = []
  validation {
    # The rule that lets them in is one of IPv4, and the VPC has no other addresses.
    condition     = alltrue([for cidr in var.dvwa_allowed_cidrs : can(cidrhost(cidr, 0)) && !strcontains(cidr, ":")])
    error_message = "Write IPv4 networks such as 198.51.100.7/32."
  }
  validation {
    condition     = var.dvwa_open_to_the_world || alltrue([for cidr in var.dvwa_allowed_cidrs : try(tonumber(split("/", cidr)[1]) >= 8, true)])
    error_message = "Whoever reaches DVWA can run commands on it. If more than a /8 of the internet shall, set dvwa_open_to_the_world = true, too."
  }
}

variable "dvwa_open_to_the_world" {
  description = "Whether networks larger than a /8, such as 0.0.0.0/0, may stand in dvwa_allowed_cidrs."
  type        = bool
  default     = false
}

# The digests are those that several public projects name for DVWA's commit b496a5d (PHP 8.5.10,
# Apache 2.4.68) and for MariaDB 11.4.10; no registry could be reached where this was written.
# `docker buildx imagetools inspect IMAGE` prints the digest of a newer one. With a tag a plan warns.
variable "dvwa_image" {
  description = "Image of DVWA; pin it by digest (ghcr.io/digininja/dvwa@sha256:...)."
  type        = string
  default     = "ghcr.io/digininja/dvwa@sha256:ed35515e9111801e6e386a6fbb11165508cc7f72e0cb8da4dbb3df70182986c6"
  validation {
    condition     = can(regex("^[a-z0-9./_-]+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$", var.dvwa_image))
    error_message = "Write NAME@sha256:DIGEST or NAME:TAG."
  }
}

variable "mariadb_image" {
  description = "Image of DVWA's database; pin it by digest."
  type        = string
  default     = "docker.io/library/mariadb@sha256:3b4dfcc32247eb07adbebec0793afae2a8eafa6860ec523ee56af4d3dec42f7f"
  validation {
    condition     = can(regex("^[a-z0-9./_-]+(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$", var.mariadb_image))
    error_message = "Write NAME@sha256:DIGEST or NAME:TAG."
  }
}

# ---- processor ------------------------------------------------------------------------------

variable "processor_image_digest" {
  description = "Digest of the processor's image in the repository of output `repository` (sha256:...). Without one the service runs no task, and an apply that leaves it out stops those that run: keep it in image.auto.tfvars. Only this variable decides which image runs: a release applies it."
  type        = string
  default     = null
  validation {
    condition     = var.processor_image_digest == null || can(regex("^sha256:[0-9a-f]{64}$", var.processor_image_digest))
    error_message = "Write sha256: and 64 hex digits."
  }
}

variable "processor_arch" {
  description = "Architecture of the tasks: ARM64 or X86_64."
  type        = string
  default     = "ARM64"
  validation {
    condition     = contains(["ARM64", "X86_64"], var.processor_arch)
    error_message = "Use ARM64 or X86_64."
  }
}

variable "processor_cpu" {
  description = "CPU of a task in units of 1/1024: 256 is enough for some thousand lines a second, 2048 for a full shard."
  type        = number
  default     = 256
  validation {
    condition     = contains([256, 512, 1024, 2048, 4096], var.processor_cpu)
    error_message = "Fargate knows 256, 512, 1024, 2048 and 4096 here."
  }
}

variable "processor_memory" {
  description = "Memory of a task in MiB."
  type        = number
  default     = 512
  validation {
    condition     = contains([512, 1024, 2048, 3072, 4096, 8192], var.processor_memory) && var.processor_memory >= 2 * var.processor_cpu && var.processor_memory <= 8 * var.processor_cpu
    error_message = "Fargate takes two to eight times the CPU units: 512, 1024 or 2048 with 256."
  }
}

variable "processor_count" {
  description = "Tasks. They share the shards evenly, and take over from one that is gone within seconds."
  type        = number
  default     = 1
  validation {
    condition     = var.processor_count >= 0 && var.processor_count <= 50
    error_message = "Use 0 to 50."
  }
}

variable "processor_count_max" {
  description = "Tasks that autoscaling on how far they are behind may start. null, the default, means no autoscaling. Tasks share shards by their number, so more tasks than shards help nobody. An apply sets the count back to processor_count."
  type        = number
  default     = null
  validation {
    condition     = var.processor_count_max == null || coalesce(var.processor_count_max, 0) > var.processor_count
    error_message = "Use more than processor_count, or null."
  }
}

variable "processor_health_check" {
  description = "Whether ECS asks `twosec-processor health` whether a task lives, and replaces one that is stuck."
  type        = bool
  default     = true
  validation {
    condition     = !var.processor_health_check || lookup(var.processor_environment, "TWOSEC_HTTP_LISTEN", "") != "off"
    error_message = "Nobody answers with TWOSEC_HTTP_LISTEN = \"off\", and all tasks would be ended: leave it out, or set processor_health_check = false."
  }
}

variable "processor_environment" {
  description = "More settings of the processor, such as { TWOSEC_START = \"LATEST\" }. Secrets belong into processor_secrets."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for name in keys(var.processor_environment) : startswith(name, "TWOSEC_")])
    error_message = "Settings of the processor begin with TWOSEC_."
  }
  validation {
    condition     = length(setintersection(keys(var.processor_environment), ["TWOSEC_REDACT_KEY", "TWOSEC_OPENSEARCH_PASSWORD"])) == 0
    error_message = "TWOSEC_REDACT_KEY and TWOSEC_OPENSEARCH_PASSWORD are secrets: give them in processor_secrets."
  }
}

variable "processor_secrets" {
  description = "Settings that are secrets: name to the ARN of a Secrets Manager secret, such as { TWOSEC_REDACT_KEY = \"arn:aws:secretsmanager:...\" }, with :KEY:: behind it for one value of a secret in JSON."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for name, arn in var.processor_secrets : startswith(name, "TWOSEC_") && can(regex("^arn:[a-z-]+:secretsmanager:[a-z0-9-]+:[0-9]{12}:secret:[^:*?]+(:[^:]*:[^:]*:[^:]*)?$", arn))])
    error_message = "Write names that begin with TWOSEC_, and ARNs of secrets in Secrets Manager, with :KEY:STAGE:VERSION behind them if only a part is meant."
  }
}

variable "index_prefix" {
  description = "What index names begin with."
  type        = string
  default     = "twosec"
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]{0,199}$", var.index_prefix))
    error_message = "Use lower-case letters, digits, `-`, `_` and `.`."
  }
}

variable "container_insights" {
  description = "Whether ECS Container Insights is on, which CloudWatch bills."
  type        = bool
  default     = false
}

# ---- continuous integration -----------------------------------------------------------------

variable "github_repository" {
  description = "OWNER/NAME of the GitHub repository whose release workflow may push images and packages. Letters must be in the same case as on GitHub. null makes no role."
  type        = string
  default     = null
  validation {
    condition     = var.github_repository == null || can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github_repository))
    error_message = "Write OWNER/NAME; patterns are not taken."
  }
}

variable "github_environment" {
  description = "The protected environment of that repository in which the release runs. It stands in the token's subject."
  type        = string
  default     = "release"
  validation {
    condition     = can(regex("^[A-Za-z0-9_-]+$", var.github_environment))
    error_message = "Write letters, digits, `-` or `_`."
  }
}

variable "github_oidc_provider_arn" {
  description = "The account's OIDC provider for GitHub, where there is one already (an account has one at most)."
  type        = string
  default     = null
  validation {
    condition     = var.github_oidc_provider_arn == null || can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/token\\.actions\\.githubusercontent\\.com$", var.github_oidc_provider_arn))
    error_message = "Write the ARN of the provider of token.actions.githubusercontent.com."
  }
}

variable "deploy_state" {
  description = "Where the configuration that uses this module keeps its state: the bucket and the key of the backend `s3`, its dynamodb_table where it locks by one (else by a file in the bucket: use_lockfile), and the KMS key of the bucket where it has one of its own. With it a second role is made, with which the release workflow applies a new processor_image_digest, and nothing else. Without it somebody applies the digest by hand."
  type = object({
    bucket      = string
    key         = string
    lock_table  = optional(string)
    kms_key_arn = optional(string)
  })
  default = null
  validation {
    condition     = var.deploy_state == null || can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.deploy_state.bucket))
    error_message = "The bucket is a name, not an ARN or a URL."
  }
  validation {
    condition     = var.deploy_state == null || can(regex("^[^/*?$][^*?$]*$", var.deploy_state.key))
    error_message = "The key is that of the backend, such as twosec/terraform.tfstate, without a slash before it and without patterns."
  }
  validation {
    condition     = try(var.deploy_state.lock_table, null) == null || can(regex("^[A-Za-z0-9_.-]{3,255}$", var.deploy_state.lock_table))
    error_message = "The lock_table is the name of a DynamoDB table."
  }
  validation {
    condition     = try(var.deploy_state.kms_key_arn, null) == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.deploy_state.kms_key_arn))
    error_message = "Write the ARN of a key (arn:aws:kms:...:key/...), not of an alias."
  }
  validation {
    condition     = var.deploy_state == null || var.github_repository != null
    error_message = "Nobody could take the role that deploys: give github_repository, too."
  }
}

variable "deploy_policy_arns" {
  description = "More policies for the role that deploys, such as for another backend of the state. Without deploy_state, too, they make that role."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for arn in var.deploy_policy_arns : can(regex("^arn:[a-z-]+:iam::([0-9]{12}|aws):policy/.+$", arn))])
    error_message = "Write ARNs of policies (arn:aws:iam::123456789012:policy/NAME)."
  }
  validation {
    condition     = length(var.deploy_policy_arns) == 0 || var.github_repository != null
    error_message = "Nobody could take the role that deploys: give github_repository, too."
  }
}

# ---- alarms and budget ----------------------------------------------------------------------

variable "alarm_emails" {
  description = "Who is told of alarms. AWS sends each a letter that must be confirmed once."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for address in var.alarm_emails : can(regex("^[^@ ]+@[^@ ]+$", address))])
    error_message = "Write mail addresses."
  }
}

variable "agent_silence_minutes" {
  description = "Minutes without any record after which the stream counts as silent; 0 makes no such alarm. A server without visitors is silent, too."
  type        = number
  default     = 60
  validation {
    condition     = var.agent_silence_minutes == 0 || (var.agent_silence_minutes >= 5 && var.agent_silence_minutes <= 1440)
    error_message = "Use 0, or 5 to 1440."
  }
}

variable "iterator_age_minutes" {
  description = "How many minutes the processor may be behind before somebody is told."
  type        = number
  default     = 10
  validation {
    condition     = var.iterator_age_minutes >= 1 && var.iterator_age_minutes < var.stream_retention_hours * 60
    error_message = "Use 1 or more, and less than the stream's retention."
  }
}

variable "index_lag_minutes" {
  description = "How many minutes the index may be behind the stream before somebody is told. The archive may be up to date all the while."
  type        = number
  default     = 15
  validation {
    condition     = var.index_lag_minutes >= 2
    error_message = "Use 2 or more: the processor tells once a minute."
  }
}

variable "budget_usd" {
  description = "Monthly limit for the whole account in USD: mail at 80 % of it and when the forecast is above it. 0 makes no budget."
  type        = number
  default     = 0
  validation {
    condition     = var.budget_usd >= 0
    error_message = "Use 0 or more."
  }
  validation {
    condition     = var.budget_usd == 0 || length(var.alarm_emails) > 0
    error_message = "A budget that tells nobody is none: give alarm_emails, too."
  }
}

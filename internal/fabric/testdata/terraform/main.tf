terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "5.100.0" }
  }
}

variable "vendor_key" {}
variable "vendor_secret" {}
variable "customer_account" {}
variable "customer_key" {}
variable "customer_secret" {}

provider "aws" {
  alias                   = "vendor"
  region                  = "us-east-1"
  access_key              = var.vendor_key
  secret_key              = var.vendor_secret
  skip_metadata_api_check = true
}

provider "aws" {
  alias                   = "customer"
  region                  = "us-east-1"
  access_key              = var.customer_key
  secret_key              = var.customer_secret
  skip_metadata_api_check = true
}

# The vendor publishes a service.

resource "aws_vpc" "vendor" {
  provider   = aws.vendor
  cidr_block = "10.100.0.0/16"
}

resource "aws_subnet" "vendor" {
  provider             = aws.vendor
  vpc_id               = aws_vpc.vendor.id
  cidr_block           = "10.100.1.0/24"
  availability_zone_id = "use1-az1"
}

resource "aws_lb" "gate" {
  provider           = aws.vendor
  name               = "gate"
  internal           = true
  load_balancer_type = "network"
  subnets            = [aws_subnet.vendor.id]
}

resource "aws_lb_target_group" "gate" {
  provider          = aws.vendor
  name              = "gate"
  port              = 443
  protocol          = "TCP"
  target_type       = "ip"
  vpc_id            = aws_vpc.vendor.id
  proxy_protocol_v2 = true
}

resource "aws_lb_listener" "gate" {
  provider          = aws.vendor
  load_balancer_arn = aws_lb.gate.arn
  port              = 443
  protocol          = "TCP"

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gate.arn
  }
}

resource "aws_vpc_endpoint_service" "gate" {
  provider                   = aws.vendor
  acceptance_required        = true
  network_load_balancer_arns = [aws_lb.gate.arn]
  tags                       = { Name = "gate" }
}

resource "aws_vpc_endpoint_service_allowed_principal" "customer" {
  provider                = aws.vendor
  vpc_endpoint_service_id = aws_vpc_endpoint_service.gate.id
  principal_arn           = "arn:aws:iam::${var.customer_account}:root"
}

# The customer connects.

resource "aws_vpc" "customer" {
  provider             = aws.customer
  cidr_block           = "10.101.0.0/16"
  enable_dns_hostnames = true
}

resource "aws_subnet" "customer" {
  provider             = aws.customer
  vpc_id               = aws_vpc.customer.id
  cidr_block           = "10.101.1.0/24"
  availability_zone_id = "use1-az1"
}

resource "aws_security_group" "endpoint" {
  provider = aws.customer
  name     = "endpoint"
  vpc_id   = aws_vpc.customer.id

  ingress {
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = [aws_vpc.customer.cidr_block]
  }
}

resource "aws_vpc_endpoint" "gate" {
  provider           = aws.customer
  vpc_id             = aws_vpc.customer.id
  service_name       = aws_vpc_endpoint_service.gate.service_name
  vpc_endpoint_type  = "Interface"
  subnet_ids         = [aws_subnet.customer.id]
  security_group_ids = [aws_security_group.endpoint.id]
  depends_on         = [aws_vpc_endpoint_service_allowed_principal.customer]
}

resource "aws_vpc_endpoint_connection_accepter" "gate" {
  provider                = aws.vendor
  vpc_endpoint_service_id = aws_vpc_endpoint_service.gate.id
  vpc_endpoint_id         = aws_vpc_endpoint.gate.id
}

resource "aws_route53_zone" "gate" {
  provider = aws.customer
  name     = "acme.pe.vendor.example"

  vpc {
    vpc_id = aws_vpc.customer.id
  }
}

resource "aws_route53_record" "gate" {
  provider = aws.customer
  zone_id  = aws_route53_zone.gate.zone_id
  name     = "acme.pe.vendor.example"
  type     = "A"

  alias {
    name                   = aws_vpc_endpoint.gate.dns_entry[0].dns_name
    zone_id                = aws_vpc_endpoint.gate.dns_entry[0].hosted_zone_id
    evaluate_target_health = false
  }
}

resource "aws_route53_zone" "postern_art_acme_example" {
  name    = "art.acme.example"
  comment = "made by postern"

  vpc {
    vpc_id     = "vpc-0a1b2c3d4e5f60718"
    vpc_region = "us-east-1"
  }
}

resource "aws_route53_record" "postern_art_acme_example_a" {
  zone_id = aws_route53_zone.postern_art_acme_example.zone_id
  name    = "art.acme.example"
  type    = "A"

  alias {
    name                   = "vpce-0a1b2c3d4e5f60718-abcd1234.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com"
    zone_id                = "Z7HUB22UULQXV"
    evaluate_target_health = false
  }
}

resource "aws_route53_record" "postern_any_art_acme_example_a" {
  zone_id = aws_route53_zone.postern_art_acme_example.zone_id
  name    = "*.art.acme.example"
  type    = "A"

  alias {
    name                   = "vpce-0a1b2c3d4e5f60718-abcd1234.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com"
    zone_id                = "Z7HUB22UULQXV"
    evaluate_target_health = false
  }
}

resource "aws_route53_zone" "postern_www_art_example" {
  name    = "www.art.example"
  comment = "made by postern"

  vpc {
    vpc_id     = "vpc-0a1b2c3d4e5f60718"
    vpc_region = "us-east-1"
  }
}

resource "aws_route53_record" "postern_www_art_example_a" {
  zone_id = aws_route53_zone.postern_www_art_example.zone_id
  name    = "www.art.example"
  type    = "A"

  alias {
    name                   = "vpce-0a1b2c3d4e5f60718-abcd1234.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com"
    zone_id                = "Z7HUB22UULQXV"
    evaluate_target_health = false
  }
}

resource "aws_route53_record" "postern_any_www_art_example_a" {
  zone_id = aws_route53_zone.postern_www_art_example.zone_id
  name    = "*.www.art.example"
  type    = "A"

  alias {
    name                   = "vpce-0a1b2c3d4e5f60718-abcd1234.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com"
    zone_id                = "Z7HUB22UULQXV"
    evaluate_target_health = false
  }
}

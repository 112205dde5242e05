resource "aws_route53_zone" "postern_acme_us-east-1_pe_postern_test" {
  name    = "acme.us-east-1.pe.postern.test"
  comment = "made by postern"

  vpc {
    vpc_id     = "vpc-0a1b2c3d4e5f60718"
    vpc_region = "us-east-1"
  }
}

resource "aws_route53_record" "postern_acme_us-east-1_pe_postern_test_a" {
  zone_id = aws_route53_zone.postern_acme_us-east-1_pe_postern_test.zone_id
  name    = "acme.us-east-1.pe.postern.test"
  type    = "A"

  alias {
    name                   = "vpce-0a1b2c3d4e5f60718-abcd1234.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com"
    zone_id                = "Z7HUB22UULQXV"
    evaluate_target_health = false
  }
}

resource "aws_route53_record" "postern_any_acme_us-east-1_pe_postern_test_a" {
  zone_id = aws_route53_zone.postern_acme_us-east-1_pe_postern_test.zone_id
  name    = "*.acme.us-east-1.pe.postern.test"
  type    = "A"

  alias {
    name                   = "vpce-0a1b2c3d4e5f60718-abcd1234.vpce-svc-0123456789abcdef0.us-east-1.vpce.amazonaws.com"
    zone_id                = "Z7HUB22UULQXV"
    evaluate_target_health = false
  }
}

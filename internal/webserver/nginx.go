package webserver

import (
	"context"
	"fmt"
	"os"
)

// tryNGINX has nginx test the text where Debian's configuration includes it, beside what that says itself.
func tryNGINX(ctx context.Context, tr *trial) error {
	user := ""
	if os.Geteuid() == 0 {
		user = "user " + serverUser() + ";\n"
	}
	err := tr.write("nginx.conf", fmt.Sprintf(`%[2]spid "%[1]s/pid";
error_log stderr;
events {}
http {
	sendfile on;
	tcp_nopush on;
	types_hash_max_size 2048;
	default_type application/octet-stream;
	ssl_protocols TLSv1.2 TLSv1.3;
	ssl_prefer_server_ciphers on;
	access_log off;
	gzip on;
	client_body_temp_path "%[1]s/body";
	proxy_temp_path "%[1]s/proxy";
	fastcgi_temp_path "%[1]s/fastcgi";
	uwsgi_temp_path "%[1]s/uwsgi";
	scgi_temp_path "%[1]s/scgi";
	include "%[1]s/%[3]s";
}
`, tr.dir, user, textName))
	if err != nil {
		return err
	}
	tr.test(ctx, tr.program.Path, "-t", "-q", "-e", "stderr", "-p", tr.dir, "-c", tr.path("nginx.conf"))
	return nil
}

package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/postern/postern/api"
	"github.com/postern/postern/internal/identity"
	"github.com/postern/postern/internal/link"
)

// signInWithin is how long a person may take in the browser.
const signInWithin = 10 * time.Minute

func (a *app) loginCommand() *cobra.Command {
	var email string
	var withKey, noBrowser bool
	cmd := &cobra.Command{
		Use:   "login",
		Short: "Sign in, and keep the session for the other commands",
		Long: `Sign in to the control plane of --api-url, in a browser where it has an OpenID provider, otherwise by e-mail address
and password. The session is kept in the user's configuration folder, readable by the user alone; the other commands use it
unless they are given another token. "postern logout" ends it.

Passwords and keys are asked for and never taken from the command line; a script gives them on standard input.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			base, err := a.baseURL()
			if err != nil {
				return err
			}
			c, err := a.clientOf(base, "")
			if err != nil {
				return err
			}
			q := newAsker(cmd.InOrStdin(), a.err)
			switch {
			case withKey:
				return a.loginWithKey(cmd.Context(), q, base)
			case email != "":
				return a.loginByPassword(cmd.Context(), q, c, email)
			}
			ways, err := c.SignInMethods(cmd.Context())
			if err != nil {
				return err
			}
			if ways.OpenID {
				return a.loginInBrowser(cmd.Context(), c, !noBrowser)
			}
			if email, err = q.line("E-mail address"); err != nil {
				return err
			}
			return a.loginByPassword(cmd.Context(), q, c, email)
		},
	}
	cmd.Flags().StringVar(&email, "email", "", "sign in by password, as the person of this e-mail address")
	cmd.Flags().BoolVar(&withKey, "with-key", false, "keep an API key instead of a session")
	cmd.Flags().BoolVar(&noBrowser, "no-browser", false, "print the URL to open and open nothing")
	cmd.MarkFlagsMutuallyExclusive("email", "with-key")
	return cmd
}

func (a *app) loginByPassword(ctx context.Context, q *asker, c *api.Client, email string) error {
	password, err := q.secret("Password of " + email)
	if err != nil {
		return err
	}
	s, err := c.SignInByPassword(ctx, api.PasswordSignInRequest{Email: email, Password: password})
	if err != nil {
		return err
	}
	return a.signedIn(c.BaseURL(), s)
}

func (a *app) loginWithKey(ctx context.Context, q *asker, base string) error {
	key, err := q.secret("API key")
	if err != nil {
		return err
	}
	if _, err := identity.ParseKey(key); err != nil {
		return err
	}
	c, err := a.clientOf(base, key)
	if err != nil {
		return err
	}
	me, err := c.Me(ctx)
	if err != nil {
		return err
	}
	if err := keep(base, credential{Token: key, Name: me.Name}); err != nil {
		return err
	}
	return a.done(me, "%s speaks to %s from now on", me.Name, base)
}

// signedIn keeps a session and says whose it is.
func (a *app) signedIn(base string, s api.NewSession) error {
	if err := keep(base, credential{Token: s.Token, Name: s.Principal.Email, ExpiresAt: s.ExpiresAt}); err != nil {
		return err
	}
	// Not with its token: it is kept where the other commands find it.
	return a.done(map[string]any{"session": s.Session, "principal": s.Principal}, "signed in as %s until %s", s.Principal.Email, s.ExpiresAt.Format(time.DateTime))
}

// loginInBrowser signs in at the OpenID provider (RFC 8252): the browser comes back to a port of this machine with a code,
// which is exchanged by what only this process knows, so that nothing of worth stands in a URL.
func (a *app) loginInBrowser(ctx context.Context, c *api.Client, open bool) error {
	ctx, cancel := context.WithTimeout(ctx, signInWithin)
	defer cancel()
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the browser: %w", err)
	}
	verifier, state := randomText(32), rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	back := make(chan browserBack, 1)
	srv := &http.Server{Handler: awaitBrowser(state, back), ReadHeaderTimeout: 10 * time.Second}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(ln) }) // until Shutdown
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(stop) // the browser has had its page, or the process is about to end
		serving.Wait()
	}()
	to := api.OpenIDSignIn{
		RedirectURI: "http://" + ln.Addr().String() + "/", State: state, CodeChallenge: base64.RawURLEncoding.EncodeToString(sum[:]),
	}.SignInURL(c.BaseURL())
	fmt.Fprintf(a.err, "Sign in at:\n\n  %s\n\n", to)
	if open {
		openBrowser(ctx, to)
	}
	select {
	case <-ctx.Done():
		return &link.Error{Kind: link.Unavailable, Reason: "SIGN_IN_TIMED_OUT", Message: "nobody signed in", Hint: "try again"}
	case got := <-back:
		if got.err != "" {
			return &link.Error{Kind: link.Denied, Reason: got.err, Message: "the sign-in was refused", Hint: "the page in the browser, or an operator, can tell why"}
		}
		s, err := c.ExchangeCode(ctx, api.ExchangeCodeRequest{Code: got.code, CodeVerifier: verifier})
		if err != nil {
			return err
		}
		return a.signedIn(c.BaseURL(), s)
	}
}

// browserBack is with what the browser came back.
type browserBack struct{ code, err string }

// awaitBrowser takes the one answer that has the state, and leaves alone what else asks on this port.
func awaitBrowser(state string, back chan<- browserBack) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Referrer-Policy", "no-referrer")
		if r.Method != http.MethodGet || r.URL.Path != "/" || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(state)) != 1 {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		got := browserBack{code: q.Get("code"), err: q.Get("error")}
		text := "You are signed in. This page may be closed."
		if got.err != "" || got.code == "" {
			if got.err == "" {
				got.err = "NO_CODE"
			}
			text = "The sign-in was refused: " + link.Quote(got.err)
		}
		fmt.Fprintln(w, text)
		select {
		case back <- got:
		default: // an answer is there already
		}
	})
}

// openBrowser opens a page as the desktop does. Where that fails the person opens it: the URL is printed.
func openBrowser(ctx context.Context, to string) {
	name := "xdg-open"
	if runtime.GOOS == "darwin" {
		name = "open"
	}
	if cmd := exec.CommandContext(ctx, name, to); cmd.Start() == nil {
		go func() { _ = cmd.Wait() }() // it is the desktop's from here on
	}
}

func (a *app) logoutCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "logout",
		Short: `End the session that "postern login" keeps`,
		Long:  `End the session that "postern login" keeps for --api-url, and forget it. An API key is forgotten only: revoke it with "postern api-key revoke".`,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			base, err := a.baseURL()
			if err != nil {
				return err
			}
			kept, err := readCredentials()
			if err != nil {
				return err
			}
			k, ok := kept.Installations[base]
			if !ok {
				return a.done(map[string]string{"api_url": base}, "nobody is signed in to %s", base)
			}
			if identity.IsToken(identity.SessionToken, k.Token) {
				c, cerr := a.clientOf(base, k.Token)
				if cerr != nil {
					return cerr
				}
				err = c.SignOut(cmd.Context())
				if e, ok := errors.AsType[*api.Error](err); ok && e.Status == http.StatusUnauthorized {
					err = nil // it was over already
				}
			}
			// Forgotten also when nobody answers: what the user asked for first is that it is not used here any more.
			if err := errors.Join(keep(base, credential{}), err); err != nil {
				return err
			}
			return a.done(map[string]string{"api_url": base}, "%s is signed out of %s", k.Name, base)
		},
	}
}

package registry

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/git-models/git-models/pkg/gitmodels"
)

// maxWords bounds what an error quotes of a registry, in runes.
const maxWords = 300

// explain turns what went wrong into an Error in our words. The cause is never
// kept as it is: it may carry signed URLs, tokens or the registry's raw bytes.
func (s *session) explain(err error) error {
	if err := s.ended(); err != nil {
		return err
	}
	// First, as it is the cause when plain HTTP was tried after it.
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &certificate) {
		return s.waiting("does not answer", s.words(certificate.Error()))
	}
	var answer *transport.Error
	if errors.As(err, &answer) {
		return s.explainAnswer(answer)
	}
	var unanswered *url.Error
	if errors.As(err, &unanswered) {
		fault := unanswered.Err
		s.guard.mu.Lock()
		if s.guard.fault != nil {
			fault = s.guard.fault
		}
		s.guard.mu.Unlock()
		if !errors.Is(fault, errBig) && !errors.Is(fault, errRedirects) && !errors.Is(fault, errDowngrade) {
			return s.waiting("does not answer", s.words(fault.Error()))
		}
		err = fault
	}
	if errors.Is(err, errSlow) {
		return s.waiting("does not answer", err.Error())
	}
	return s.waiting("answers oddly", s.words(err.Error()))
}

// ended is the error of a call whose time is over.
func (s *session) ended() error {
	if err := s.caller.Err(); err != nil {
		return &gitmodels.Error{Op: s.op, Err: context.Cause(s.caller)}
	}
	if s.ctx.Err() != nil {
		return s.waiting("does not answer", fmt.Sprintf("%v, %s", errSlow, s.limit))
	}
	return nil
}

// explainAnswer explains an answer that says no.
func (s *session) explainAnswer(e *transport.Error) error {
	said := s.said(e)
	switch {
	case e.StatusCode == http.StatusTooManyRequests, e.StatusCode >= 500, e.StatusCode == http.StatusRequestTimeout,
		has(e, transport.TooManyRequestsErrorCode, transport.UnavailableErrorCode):
		return s.waiting("does not answer", said)
	case e.StatusCode == http.StatusUnauthorized, e.StatusCode == http.StatusForbidden,
		has(e, transport.UnauthorizedErrorCode, transport.DeniedErrorCode):
		return &gitmodels.Error{Kind: gitmodels.Forbidden, Op: s.op,
			Message: fmt.Sprintf("registry: %s refuses %s %s: %s", s.host(), s.what, s.found.whence(), said)}
	case has(e, transport.ManifestUnknownErrorCode, transport.NameUnknownErrorCode,
		transport.ManifestBlobUnknownErrorCode, transport.BlobUnknownErrorCode),
		e.StatusCode == http.StatusNotFound && s.ofImage(e):
		return &gitmodels.Error{Kind: gitmodels.NotFound, Op: s.op,
			Message: fmt.Sprintf("registry: %s is not there: %s", s.what, said)}
	}
	return s.waiting("answers oddly", said)
}

// explainTag explains why a manifest was not taken under a tag; there says that
// the tag was there before, with another digest. That it may not move is said by
// registries in many ways: with the statuses 409 and 412, with the code
// TAG_INVALID, or in words alone.
func (s *session) explainTag(err error, tag name.Tag, there bool) error {
	var e *transport.Error
	if s.ended() != nil || !errors.As(err, &e) || e.StatusCode < 400 || e.StatusCode >= 500 {
		return s.explain(err)
	}
	said := s.said(e)
	told := strings.ToLower(said)
	words := strings.Contains(told, "immutable") || strings.Contains(told, "overwrit")
	refused := e.StatusCode == http.StatusConflict || e.StatusCode == http.StatusPreconditionFailed ||
		has(e, transport.TagInvalidErrorCode)
	if !words && !(there && refused) {
		return s.explain(err)
	}
	return &gitmodels.Error{Kind: gitmodels.Invalid, Op: s.op,
		Message: fmt.Sprintf("registry: %s does not move the tag %s of %s: %s", s.host(), tag.TagStr(), tag.Repository.Name(), said)}
}

// ofImage reports whether the answer is about the image, and not about the
// registry as a whole or from its token service.
func (s *session) ofImage(e *transport.Error) bool {
	return e.Request != nil && e.Request.URL != nil && strings.HasPrefix(e.Request.URL.Path, "/v2/"+s.repo.RepositoryStr()+"/")
}

// said is what the registry says, in one line: its codes and messages, without
// the details, which are of any form, or the status alone.
func (s *session) said(e *transport.Error) string {
	var all []string
	for _, d := range e.Errors {
		all = append(all, strings.Trim(string(d.Code)+": "+d.Message, ": "))
	}
	status := fmt.Sprintf("%d %s", e.StatusCode, http.StatusText(e.StatusCode))
	if len(all) == 0 {
		return status
	}
	return s.words(status + ", " + strings.Join(all, "; "))
}

func has(e *transport.Error, codes ...transport.ErrorCode) bool {
	return slices.ContainsFunc(e.Errors, func(d transport.Diagnostic) bool { return slices.Contains(codes, d.Code) })
}

func (s *session) host() string { return s.repo.RegistryStr() }

func (s *session) waiting(how, why string) error {
	return &gitmodels.Error{Kind: gitmodels.Waiting, Op: s.op, Message: fmt.Sprintf("registry: %s %s: %s", s.host(), how, why)}
}

// words makes foreign words fit to show: one bounded, printable line without the
// credentials of this call, and without the answer of a token service, which
// go-containerregistry quotes whole.
func (s *session) words(text string) string {
	if head, _, ok := strings.Cut(text, "no token in bearer response"); ok {
		text = head + "no token in its token service's answer"
	}
	c := s.found.config
	secrets := []string{c.Password, c.Auth, c.IdentityToken, c.RegistryToken,
		base64.StdEncoding.EncodeToString([]byte(c.Username + ":" + c.Password))}
	s.guard.mu.Lock()
	secrets = append(secrets, s.guard.secrets...)
	s.guard.mu.Unlock()
	return strike(text, secrets)
}

// strike takes the secrets out of text, longest first, also as a URL or JSON
// writes them, and makes the rest one printable line.
func strike(text string, secrets []string) string {
	var forms []string
	for _, secret := range secrets {
		if secret != "" {
			forms = append(forms, secret, url.QueryEscape(secret), url.PathEscape(secret), strings.Trim(fmt.Sprintf("%q", secret), `"`))
		}
	}
	slices.SortFunc(forms, func(a, b string) int { return len(b) - len(a) })
	for _, form := range forms {
		text = strings.ReplaceAll(text, form, "***")
	}
	return gitmodels.Printable(strings.Join(strings.Fields(text), " "), maxWords)
}

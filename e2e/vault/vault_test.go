package vault

import (
	"errors"
	"regexp"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const kv = "shop-kv"

var web = Caller{TenantID: "t", ClientID: "web", Subject: Subject("shop", "web")}

func TestVersions(t *testing.T) {
	s := New()
	v1 := s.Set(kv, Secret, "db-password", "one")
	v2 := s.Set(kv, Secret, "db-password", "one")
	if form := regexp.MustCompile(`^[0-9a-f]{32}$`); v1 == v2 || !form.MatchString(v1) || !form.MatchString(v2) {
		t.Errorf("versions %s and %s", v1, v2)
	}
	s.Set(kv, Secret, "other", "x")
	value := func(version string) string {
		o, err := s.Get(web, "SHOP-KV", Secret, "DB-Password", version) // names know no case
		if err != nil {
			t.Fatal(err)
		}
		return o.Version
	}
	if value("") != v2 || value(v1) != v1 {
		t.Errorf("newest %s, first %s", value(""), value(v1))
	}
	s.Disable(kv, Secret, "db-password", v1)
	list, err := s.Versions(web, kv, Secret, "db-password")
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 || list[0].Version != v2 || list[0].ID() != "secret/db-password" {
		t.Errorf("versions %v", list)
	}
	if newest, _ := s.Newest(kv, Secret, "db-password"); newest.Version != v2 {
		t.Errorf("newest %v", newest)
	}
	if got := s.Reads(kv); got != 3 {
		t.Errorf("%d reads", got)
	}
}

func TestACertificateHasThreePartsOfOneVersion(t *testing.T) {
	s := New()
	version := s.SetCertificate(kv, "tls", "leaf", "public", "pair")
	got := map[string]string{}
	for _, typ := range []Type{Cert, Key, Secret} {
		o, err := s.Get(web, kv, typ, "tls", version)
		if err != nil {
			t.Fatal(err)
		}
		got[o.ID()] = o.Value
	}
	if diff := cmp.Diff(map[string]string{"cert/tls": "leaf", "key/tls": "public", "secret/tls": "pair"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	tests := map[string]struct {
		prepare func(*Service)
		caller  Caller
		vault   string
		typ     Type
		version string
		want    Error // Request is left out
	}{
		"no such vault":   {vault: "nope", want: Error{NoHost: "nope.vault.azure.net"}},
		"no such secret":  {prepare: func(s *Service) { s.Delete(kv, Secret, "pw") }, want: Error{Status: 404, Code: "SecretNotFound"}},
		"no such key":     {typ: Key, want: Error{Status: 404, Code: "KeyNotFound"}},
		"no such version": {version: "latest", want: Error{Status: 404, Code: "SecretNotFound"}},
		"disabled":        {prepare: func(s *Service) { s.Disable(kv, Secret, "pw", "") }, want: Error{Status: 403, Code: "Forbidden"}},
		"throttled":       {prepare: func(s *Service) { s.Fail(Failure{Vault: kv, Status: 429}) }, want: Error{Status: 429, Code: "Throttled"}},
		"throttled for this identity": {
			prepare: func(s *Service) { s.Fail(Failure{ClientID: "WEB", Name: "pw", Type: Secret, Status: 429}) },
			want:    Error{Status: 429, Code: "Throttled"},
		},
		"an unknown identity": {
			prepare: func(s *Service) { s.Allow(Identity{TenantID: "t", ClientID: "other"}) },
			want:    Error{Status: 400, Code: "unauthorized_client", Token: true},
		},
		"an identity of another directory": {
			prepare: func(s *Service) { s.Allow(Identity{TenantID: "elsewhere", ClientID: "web"}) },
			want:    Error{Status: 400, Code: "unauthorized_client", Token: true},
		},
		"another ServiceAccount's identity": {
			prepare: func(s *Service) {
				s.Allow(Identity{TenantID: "t", ClientID: "web", Subjects: []string{Subject("shop", "other")}})
			},
			want: Error{Status: 401, Code: "invalid_client", Token: true},
		},
		"an identity without permission": {
			prepare: func(s *Service) { s.Allow(Identity{TenantID: "t", ClientID: "web", Vaults: []string{"other-kv"}}) },
			want:    Error{Status: 403, Code: "Forbidden"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := New()
			s.Set(kv, Secret, "pw", "one")
			if test.prepare != nil {
				test.prepare(s)
			}
			vaultName, typ := kv, Secret
			if test.vault != "" {
				vaultName = test.vault
			}
			if test.typ != "" {
				typ = test.typ
			}
			_, err := s.Get(web, vaultName, typ, "pw", test.version)
			got, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatalf("error %v", err)
			}
			refused := *got
			refused.Request = ""
			if diff := cmp.Diff(test.want, refused); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhoIsAllowed(t *testing.T) {
	s := New()
	s.Set(kv, Secret, "pw", "one")
	s.Allow(Identity{TenantID: "T", ClientID: "WEB", Subjects: []string{web.Subject}, Vaults: []string{"Shop-KV"}})
	s.Allow(Identity{TenantID: "t", ClientID: "node"})
	for _, caller := range []Caller{web, {TenantID: "t", ClientID: "node"}} {
		if _, err := s.Get(caller, kv, Secret, "pw", ""); err != nil {
			t.Errorf("%v: %v", caller, err)
		}
	}
}

func TestFailuresEnd(t *testing.T) {
	s := New()
	s.Set(kv, Secret, "pw", "one")
	s.Set(kv, Secret, "free", "one")
	cancel := s.Fail(Failure{Name: "pw", Status: 500})
	s.Fail(Failure{Name: "pw", Status: 429, Times: 2})
	read := func(name string) int {
		_, err := s.Get(web, kv, Secret, name, "")
		if refused, ok := errors.AsType[*Error](err); ok {
			return refused.Status
		}
		return 200
	}
	got := []int{read("free"), read("pw")}
	cancel()
	got = append(got, read("pw"), read("pw"), read("pw"))
	if diff := cmp.Diff([]int{200, 500, 429, 429, 200}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.Disable(kv, Secret, "pw", "")
	s.Enable(kv, Secret, "pw", "")
	if read("pw") != 200 {
		t.Error("it stays disabled")
	}
}

func TestManyAtOnce(t *testing.T) {
	s := New()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				version := s.Set(kv, Secret, "pw", "x")
				if _, err := s.Get(web, kv, Secret, "pw", version); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if list, _ := s.Versions(web, kv, Secret, "pw"); len(list) != 400 {
		t.Errorf("%d versions", len(list))
	}
}

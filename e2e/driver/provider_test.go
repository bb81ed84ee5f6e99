package driver

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyroll.dev/e2e/vault"
)

// request is one that the provider answers, for the cases to change.
func request(change func(map[string]string)) mountRequest {
	r := mountRequest{
		parameters: map[string]string{
			"keyvaultName": " shop-kv ", "tenantID": tenant, "clientID": clientID, "objects": objectsText("db-password"),
		},
		audiences: []string{workloadAudience}, namespace: "shop", account: "web",
	}
	if change != nil {
		change(r.parameters)
	}
	return r
}

func TestWhatTheProviderRefuses(t *testing.T) {
	object := func(fields string) func(map[string]string) {
		return func(p map[string]string) { p["objects"] = "array:\n- |\n  objectName: db-password\n" + fields }
	}
	const wrapped = "failed to get objectType:secret, objectName:db-password, objectVersion:: "
	tests := map[string]struct {
		change    func(map[string]string)
		audiences []string
		want      string
	}{
		"no vault":                  {change: func(p map[string]string) { p["keyvaultName"] = " " }, want: "keyvaultName is not provided"},
		"no tenant":                 {change: func(p map[string]string) { delete(p, "tenantID") }, want: "tenantId is not provided"},
		"no objects parameter":      {change: func(p map[string]string) { delete(p, "objects") }, want: "objects is not set"},
		"a vault name too short":    {change: func(p map[string]string) { p["keyvaultName"] = "kv" }, want: `failed to get vault: Invalid vault name: "kv", must be between 3 and 24 chars`},
		"a vault name with a dot":   {change: func(p map[string]string) { p["keyvaultName"] = "shop.kv" }, want: `failed to get vault: Invalid vault name: "shop.kv", must match [-a-zA-Z0-9]{3,24}`},
		"a vault that is not there": {change: func(p map[string]string) { p["keyvaultName"] = "nope" }, want: wrapped + `Get "https://nope.vault.azure.net/secrets/db-password/": dial tcp: lookup nope.vault.azure.net: no such host`},
		"two ways to an identity":   {change: func(p map[string]string) { p["usePodIdentity"], p["useVMManagedIdentity"] = "true", "true" }, want: "only one identity mode can be enabled at a time: usePodIdentity, useVMManagedIdentity, or useAzureTokenProxy"},
		"no identity at all":        {change: func(p map[string]string) { delete(p, "clientID") }, want: "failed to build auth config for mode None: failed to get credentials, nodePublishSecretRef secret is not set"},
		"a token for others":        {audiences: []string{"elsewhere"}, want: "failed to build auth config for mode None: failed to parse workload identity tokens, error: token for audience api://AzureADTokenExchange not found"},
		"identity binding without its audience": {
			change: func(p map[string]string) { p["useAzureTokenProxy"] = "true" },
			want:   "failed to build auth config for mode AzureTokenProxy: failed to parse service account token for identity binding, error: token for audience api://AKSIdentityBinding not found",
		},
		"a type in capitals":        {change: object("  objectType: Secret"), want: "failed to get objectType:Secret, objectName:db-password, objectVersion:: Invalid vaultObjectTypes. Should be secret, key, or cert"},
		"a file name that climbs":   {change: object("  objectType: secret\n  objectAlias: ../x"), want: wrapped + "file name must not contain '..'"},
		"an absolute file name":     {change: object("  objectType: secret\n  objectAlias: /x"), want: wrapped + "file name must be a relative path"},
		"an unknown encoding":       {change: object("  objectType: secret\n  objectEncoding: rot13"), want: wrapped + "invalid objectEncoding: rot13, should be hex, base64 or utf-8"},
		"an unknown format":         {change: object("  objectType: secret\n  objectFormat: der"), want: wrapped + "invalid objectFormat: der, should be PEM or PFX"},
		"a version that is no more": {change: object("  objectType: secret\n  objectVersion: latest"), want: "failed to get objectType:secret, objectName:db-password, objectVersion:latest: GET https://shop-kv.vault.azure.net/secrets/db-password/latest"},
		"objects that are no YAML":  {change: func(p map[string]string) { p["objects"] = "array: [" }, want: "failed to yaml unmarshal objects, error: "},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			v := vault.New()
			v.Set(keyVault, vault.Secret, "db-password", "one")
			r := request(test.change)
			if test.audiences != nil {
				r.audiences = test.audiences
			}
			files, err := azure{v}.mount(r)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("%v, %v; want %s", files, err, test.want)
			}
		})
	}
}

func TestWhatTheProviderDelivers(t *testing.T) {
	v := vault.New()
	v1 := v.Set(keyVault, vault.Secret, "db-password", "one")
	v2 := v.Set(keyVault, vault.Secret, "db-password", "two")
	v3 := v.Set(keyVault, vault.Secret, "db-password", "three")
	hex := v.Set(keyVault, vault.Secret, "hexed", "6869")
	cert := v.SetCertificate(keyVault, "tls", "LEAF", "PUBLIC", "KEY AND CHAIN")
	tests := map[string]struct {
		objects string
		want    []providerFile
	}{
		"the newest": {
			objects: objectsText("db-password"),
			want:    []providerFile{{"db-password", "secret/db-password", v3, "three"}},
		},
		"a pinned version under another file name": {
			objects: "array:\n- |\n  objectName: db-password\n  objectType: secret\n  objectVersion: " + v1 + "\n  objectAlias: old/pw",
			want:    []providerFile{{"old/pw", "secret/db-password", v1, "one"}},
		},
		"a history, one longer than asked for": {
			objects: "array:\n- |\n  objectName: db-password\n  objectType: secret\n  objectVersionHistory: 2",
			want: []providerFile{
				{"db-password/0", "secret/db-password/0", v3, "three"},
				{"db-password/1", "secret/db-password/1", v2, "two"},
				{"db-password/2", "secret/db-password/2", v1, "one"},
			},
		},
		"hexadecimal content": {
			objects: "array:\n- |\n  objectName: hexed\n  objectType: secret\n  objectEncoding: Hex",
			want:    []providerFile{{"hexed", "secret/hexed", hex, "hi"}},
		},
		"a certificate's three parts": {
			objects: "array:\n- '{objectName: tls, objectType: cert, objectAlias: a}'\n- '{objectName: tls, objectType: key, objectAlias: b}'\n- '{objectName: tls, objectType: secret, objectAlias: c}'",
			want: []providerFile{
				{"a", "cert/tls", cert, "LEAF"},
				{"b", "key/tls", cert, "PUBLIC"},
				{"c", "secret/tls", cert, "KEY AND CHAIN"},
			},
		},
		"nothing": {objects: "array: []"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := azure{v}.mount(request(func(p map[string]string) { p["objects"] = test.objects }))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(providerFile{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhoTheProviderIs(t *testing.T) {
	tests := map[string]struct {
		change  func(map[string]string)
		secrets map[string]string
		want    vault.Caller
	}{
		"workload identity": {
			want: vault.Caller{TenantID: tenant, ClientID: clientID, Subject: "system:serviceaccount:shop:web"},
		},
		"the older spelling of the tenant": {
			change: func(p map[string]string) { p["tenantId"] = "old"; delete(p, "tenantID") },
			want:   vault.Caller{TenantID: "old", ClientID: clientID, Subject: "system:serviceaccount:shop:web"},
		},
		"the node's identity": {
			change: func(p map[string]string) {
				p["useVMManagedIdentity"], p["userAssignedIdentityID"] = "true", "of-the-node"
				delete(p, "clientID")
			},
			want: vault.Caller{TenantID: tenant, ClientID: "of-the-node"},
		},
		"a service principal": {
			change:  func(p map[string]string) { delete(p, "clientID") },
			secrets: map[string]string{"clientID": "principal", "clientsecret": "x"},
			want:    vault.Caller{TenantID: tenant, ClientID: "principal"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := request(test.change)
			r.secrets = test.secrets
			keyVaultName, got, err := r.identity()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" || keyVaultName != keyVault {
				t.Errorf("vault %s, caller (-want +got):\n%s", keyVaultName, diff)
			}
		})
	}
}

func TestAnErrorKeepsItsCodeOnTheWay(t *testing.T) {
	inner := rpcError{"InvalidArgument", "Readonly is not true in request"}
	tests := map[string]struct {
		err  error
		want string
	}{
		"a plain error":   {errors.New("x"), "rpc error: code = Unknown desc = x"},
		"a gRPC error":    {inner, "rpc error: code = InvalidArgument desc = Readonly is not true in request"},
		"one around that": {errors.Join(inner), "rpc error: code = InvalidArgument desc = rpc error: code = InvalidArgument desc = Readonly is not true in request"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := asRPC(test.err).Error(); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

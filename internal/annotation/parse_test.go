package annotation

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	someVersion = "0123456789abcdef0123456789abcdef"
	someID      = "01234567-89ab-cdef-0123-456789abcdef"
)

// with returns the annotations of a valid workload with changes; "-" removes a key.
func with(changes map[string]string) map[string]string {
	a := map[string]string{Objects: "db-username,db-password"}
	maps.Copy(a, changes)
	maps.DeleteFunc(a, func(_, v string) bool { return v == "-" })
	return a
}

func secret(name string) Object { return Object{Type: TypeSecret, Name: name} }

func TestParseReads(t *testing.T) {
	user, password := secret("db-username"), secret("db-password")
	both := []Object{user, password}
	cases := map[string]struct {
		annotations map[string]string
		want        Settings
	}{
		"nothing asks for nothing": {
			annotations: nil,
			want:        Settings{},
		},
		"annotations of others are not read": {
			annotations: map[string]string{"example.com/objects": "!", "objects": "!"},
			want:        Settings{},
		},
		"objects alone": {
			annotations: with(nil),
			want:        Settings{Objects: both},
		},
		"objects on lines, with white space and empty entries": {
			annotations: with(map[string]string{Objects: "\n  db-username ,\n\n,db-password\r\n"}),
			want:        Settings{Objects: both},
		},
		"objects of all types, pinned and with file names": {
			annotations: with(map[string]string{Objects: "key/a,cert/b@" + someVersion + "=b.pem,secret/c=.C_1-x"}),
			want: Settings{Objects: []Object{
				{Type: TypeKey, Name: "a"},
				{Type: TypeCert, Name: "b", Version: someVersion, File: "b.pem"},
				{Type: TypeSecret, Name: "c", File: ".C_1-x"},
			}},
		},
		"a file name that is the object's own is not one": {
			annotations: with(map[string]string{Objects: "db-username=db-username,secret/db-password"}),
			want:        Settings{Objects: both},
		},
		"one name as secret, key and cert with a file name each": {
			annotations: with(map[string]string{Objects: "web,key/web=web.pub,cert/web=web.crt"}),
			want: Settings{Objects: []Object{
				secret("web"), {Type: TypeKey, Name: "web", File: "web.pub"}, {Type: TypeCert, Name: "web", File: "web.crt"},
			}},
		},
		"every single value": {
			annotations: with(map[string]string{
				Vault: " shop-kv\n", TenantID: "contoso.onmicrosoft.com", ClientID: strings.ToUpper(someID),
				ServiceAccount: "web.shop", MountPath: "/etc/shop/secrets", Secret: "app-secrets", SecretType: "Opaque",
				WorkloadIdentity: "false", Restart: "never", Inject: "true",
			}),
			want: Settings{
				Objects: both, Vault: "shop-kv", TenantID: "contoso.onmicrosoft.com", ClientID: strings.ToUpper(someID),
				ServiceAccount: "web.shop", MountPath: "/etc/shop/secrets", Secret: "app-secrets", SecretType: "Opaque",
				NoWorkloadIdentity: true, RestartNever: true,
			},
		},
		"values that are the default": {
			annotations: with(map[string]string{WorkloadIdentity: "true", Restart: "rolling"}),
			want:        Settings{Objects: both},
		},
		"containers": {
			annotations: with(map[string]string{Containers: "app, migrate"}),
			want:        Settings{Objects: both, Containers: []string{"app", "migrate"}},
		},
		"env by bare and by typed name": {
			annotations: with(map[string]string{Env: "DB_USER=db-username, DB_PASSWORD = secret/db-password"}),
			want: Settings{Objects: both, Env: []EnvVar{
				{Name: "DB_USER", Object: user}, {Name: "DB_PASSWORD", Object: password},
			}},
		},
		"env takes one object several times, and names as every Kubernetes allows them": {
			annotations: with(map[string]string{Env: "db.user=db-username,_2nd=db-username"}),
			want: Settings{Objects: both, Env: []EnvVar{
				{Name: "db.user", Object: user}, {Name: "_2nd", Object: user},
			}},
		},
		"env takes the secret for a bare name that others have too": {
			annotations: with(map[string]string{Objects: "cert/web=c,web", Env: "A=web,B=cert/web"}),
			want: Settings{
				Objects: []Object{{Type: TypeCert, Name: "web", File: "c"}, secret("web")},
				Env:     []EnvVar{{Name: "A", Object: secret("web")}, {Name: "B", Object: Object{Type: TypeCert, Name: "web", File: "c"}}},
			},
		},
		"env takes the only object of a bare name": {
			annotations: with(map[string]string{Objects: "cert/web@" + someVersion, Env: "A=web"}),
			want: Settings{
				Objects: []Object{{Type: TypeCert, Name: "web", Version: someVersion}},
				Env:     []EnvVar{{Name: "A", Object: Object{Type: TypeCert, Name: "web", Version: someVersion}}},
			},
		},
		"a certificate's Secret": {
			annotations: with(map[string]string{Objects: "web,key/sign", Secret: "web-tls", SecretType: "kubernetes.io/tls"}),
			want: Settings{
				Objects: []Object{secret("web"), {Type: TypeKey, Name: "sign"}}, Secret: "web-tls", SecretType: "kubernetes.io/tls",
			},
		},
		"an existing class, with all that it does not decide": {
			annotations: with(map[string]string{
				Objects: "-", SecretProviderClass: "akv-app-secrets", ClientID: someID, TenantID: someID,
				ServiceAccount: "web", MountPath: "/s", Containers: "app",
			}),
			want: Settings{
				SecretProviderClass: "akv-app-secrets", ClientID: someID, TenantID: someID,
				ServiceAccount: "web", MountPath: "/s", Containers: []string{"app"},
			},
		},
		"restart-on without injection": {
			annotations: map[string]string{RestartOn: "secret/app-secrets,secret/other.one", Restart: "never"},
			want:        Settings{RestartNever: true, RestartOn: Triggers{Secrets: []string{"app-secrets", "other.one"}}},
		},
		"restart-on all that the template refers to": {
			annotations: with(map[string]string{RestartOn: "auto"}),
			want:        Settings{Objects: both, RestartOn: Triggers{Auto: true}},
		},
		"opted out: only what rolls it is read, however wrong the rest": {
			annotations: with(map[string]string{
				Inject: "false", Objects: "_", Vault: "", Prefix + "x": "y", Restart: "never", RestartOn: "secret/a",
			}),
			want: Settings{InjectFalse: true, RestartNever: true, RestartOn: Triggers{Secrets: []string{"a"}}},
		},
		"what Keyroll writes is no problem": {
			annotations: with(map[string]string{Dependencies: "x", Content: "x", FromWorkload: "x", InjectedLabel: "x"}),
			want:        Settings{Objects: both},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, problems := Parse(tc.annotations)
			if problems != nil {
				t.Fatalf("problems: %v", problems.Err())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	long := strings.Repeat("a", 300)
	cases := map[string]struct {
		annotations map[string]string
		want        []string
	}{
		"an object name of another shape": {
			with(map[string]string{Objects: "db_password,ok,a!b"}),
			[]string{
				`keyroll.dev/objects: "db_password": is not a Key Vault object name (letters, digits and '-', at most 127); write its name in the vault, such as db-password`,
				`keyroll.dev/objects: "a!b": is not a Key Vault object name (letters, digits and '-', at most 127); write its name in the vault`,
			},
		},
		"an object name that is too long, echoed in part": {
			with(map[string]string{Objects: long[:128]}),
			[]string{`keyroll.dev/objects: "` + long[:60] + `…": is not a Key Vault object name (letters, digits and '-', at most 127); write its name in the vault`},
		},
		"no object name": {
			with(map[string]string{Objects: "key/"}),
			[]string{`keyroll.dev/objects: "key/": names no object; write its name in the vault, such as db-password`},
		},
		"an unknown object type": {
			with(map[string]string{Objects: "Secret/a,certs/b,a/b/c"}),
			[]string{
				`keyroll.dev/objects: "Secret/a": has an unknown type; write secret/NAME, key/NAME or cert/NAME`,
				`keyroll.dev/objects: "certs/b": has an unknown type; write secret/NAME, key/NAME or cert/NAME`,
				`keyroll.dev/objects: "a/b/c": has an unknown type; write secret/NAME, key/NAME or cert/NAME`,
			},
		},
		"objects separated by something else": {
			with(map[string]string{Objects: "a b;c"}),
			[]string{`keyroll.dev/objects: "a b;c": is not one object; separate objects by commas or newlines`},
		},
		"versions that are none": {
			with(map[string]string{Objects: "a@latest,b@,c@2"}),
			[]string{
				`keyroll.dev/objects: "a@latest": pins no version; leave out '@' and what follows it to have the newest version`,
				`keyroll.dev/objects: "b@": pins no version; leave out '@' and what follows it to have the newest version`,
				`keyroll.dev/objects: "c@2": does not pin a Key Vault version, which has 32 letters and digits; copy it from the vault, or leave '@' out to have the newest`,
			},
		},
		"file names that the driver or a Secret would refuse": {
			with(map[string]string{Objects: "a=x/y,b=..x,c=.,d=,e=" + long}),
			[]string{
				`keyroll.dev/objects: "a=x/y": has no valid file name after '='; write letters, digits, '-', '_' and '.', no directory`,
				`keyroll.dev/objects: "b=..x": has a file name that begins with '..' or is '.'; choose another`,
				`keyroll.dev/objects: "c=.": has a file name that begins with '..' or is '.'; choose another`,
				`keyroll.dev/objects: "d=": has no valid file name after '='; write letters, digits, '-', '_' and '.', no directory`,
				`keyroll.dev/objects: "e=` + long[:58] + `…": has no valid file name after '='; write letters, digits, '-', '_' and '.', no directory`,
			},
		},
		"all that is wrong with one object": {
			with(map[string]string{Objects: "a_b@1=c/d"}),
			[]string{
				`keyroll.dev/objects: "a_b@1=c/d": is not a Key Vault object name (letters, digits and '-', at most 127); write its name in the vault, such as a-b`,
				`keyroll.dev/objects: "a_b@1=c/d": does not pin a Key Vault version, which has 32 letters and digits; copy it from the vault, or leave '@' out to have the newest`,
				`keyroll.dev/objects: "a_b@1=c/d": has no valid file name after '='; write letters, digits, '-', '_' and '.', no directory`,
			},
		},
		"one object twice, whatever the version": {
			with(map[string]string{Objects: "a,secret/a@" + someVersion + "=b"}),
			[]string{`keyroll.dev/objects: "secret/a@` + someVersion + `=b": is listed twice; write secret/a once`},
		},
		"two objects in one file": {
			with(map[string]string{Objects: "web,cert/web,key/a=web"}),
			[]string{
				`keyroll.dev/objects: "cert/web": has the same file name as secret/web; give it another, such as cert/web=web.cert`,
				`keyroll.dev/objects: "key/a=web": has the same file name as secret/web; give it another, such as key/a=a.key`,
			},
		},
		"objects that list nothing": {
			with(map[string]string{Objects: " ,\n, "}),
			[]string{`keyroll.dev/objects: ",\n,": lists nothing; write at least one, or remove the annotation`},
		},
		"too many objects": {
			with(map[string]string{Objects: strings.Repeat("a,", 101)}),
			[]string{`keyroll.dev/objects: lists 101; write at most 100`},
		},
		"empty values": {
			with(map[string]string{Objects: "", Vault: "  "}),
			[]string{
				`keyroll.dev/objects: is empty; write its value ([secret/|key/|cert/]NAME[@VERSION][=FILENAME], separated by commas or newlines), or remove the annotation`,
				`keyroll.dev/vault: is empty; write its value (Key Vault name), or remove the annotation`,
			},
		},
		"a vault by its address": {
			with(map[string]string{Vault: "https://Shop-KV.vault.azure.net/"}),
			[]string{`keyroll.dev/vault: "https://Shop-KV.vault.azure.net/": is not a Key Vault name; write the name alone: shop-kv`},
		},
		"a vault by an address that holds none": {
			with(map[string]string{Vault: "a.example.com"}),
			[]string{`keyroll.dev/vault: "a.example.com": is not a Key Vault name; write 3 to 24 letters, digits and single '-', a letter first, no '-' last`},
		},
		"ids": {
			with(map[string]string{TenantID: "my tenant", ClientID: "web-identity"}),
			[]string{
				`keyroll.dev/tenant-id: "my tenant": is not a directory; write its id, such as 01234567-89ab-cdef-0123-456789abcdef`,
				`keyroll.dev/client-id: "web-identity": is not a client id; write the identity's client id, such as 01234567-89ab-cdef-0123-456789abcdef`,
			},
		},
		"names in Kubernetes": {
			with(map[string]string{ServiceAccount: "Web", Secret: "app_secrets", Containers: "app,App,app"}),
			[]string{
				`keyroll.dev/service-account: "Web": is not a name of a ServiceAccount; write lower-case letters, digits, '-' and '.', as kubectl shows it`,
				`keyroll.dev/containers: "App": is not a container's name; write names from the pod template, or remove the annotation to have all`,
				`keyroll.dev/containers: "app": is listed twice; remove one`,
				`keyroll.dev/secret: "app_secrets": is not a name of a Secret; write lower-case letters, digits, '-' and '.', as kubectl shows it`,
			},
		},
		"names that Keyroll generates": {
			with(map[string]string{Secret: "keyroll-" + someVersion}),
			[]string{`keyroll.dev/secret: "keyroll-` + someVersion + `": is kept for names that Keyroll generates; choose another`},
		},
		"a class that Keyroll generates": {
			with(map[string]string{Objects: "-", SecretProviderClass: "keyroll-" + someVersion}),
			[]string{`keyroll.dev/secret-provider-class: "keyroll-` + someVersion + `": is a class that Keyroll generates; write keyroll.dev/objects instead of naming it`},
		},
		"env that is none": {
			with(map[string]string{Env: "A,=db-username,B=,A\tB=db-username"}),
			[]string{
				`keyroll.dev/env: "A": is not NAME=OBJECT; write for example DB_PASSWORD=db-password`,
				`keyroll.dev/env: "=db-username": is not NAME=OBJECT; write for example DB_PASSWORD=db-password`,
				`keyroll.dev/env: "B=": is not NAME=OBJECT; write for example DB_PASSWORD=db-password`,
				`keyroll.dev/env: "A\tB=db-username": has no valid environment variable name before '='; write letters, digits and '_', no digit first, at most 253`,
			},
		},
		"env of an object that is not mounted": {
			with(map[string]string{Env: "A=db-host,B=cert/db-username,C=db_username"}),
			[]string{
				`keyroll.dev/env: "A=db-host": takes an object that is not in keyroll.dev/objects; add secret/db-host there`,
				`keyroll.dev/env: "B=cert/db-username": takes an object that is not in keyroll.dev/objects; add cert/db-username there`,
				`keyroll.dev/env: "C=db_username": is not a Key Vault object name (letters, digits and '-', at most 127); write its name in the vault, such as db-username`,
			},
		},
		"env by file name": {
			with(map[string]string{Objects: "key/web=public", Env: "A=public"}),
			[]string{`keyroll.dev/env: "A=public": takes a file name for an object; write key/web`},
		},
		"env that could mean two objects": {
			with(map[string]string{Objects: "key/web,cert/web=c", Env: "A=web"}),
			[]string{`keyroll.dev/env: "A=web": could take several objects; write key/web or cert/web`},
		},
		"env twice": {
			with(map[string]string{Env: "A=db-username,A=db-password"}),
			[]string{`keyroll.dev/env: "A=db-password": sets a variable that is set before; remove one`},
		},
		"env is not held against objects that are wrong themselves": {
			with(map[string]string{Objects: "db_host", Env: "A=db-host"}),
			[]string{`keyroll.dev/objects: "db_host": is not a Key Vault object name (letters, digits and '-', at most 127); write its name in the vault, such as db-host`},
		},
		"a Secret type that is none": {
			with(map[string]string{Secret: "s", SecretType: "tls"}),
			[]string{`keyroll.dev/secret-type: "tls": is none of its values; write "Opaque" or "kubernetes.io/tls"`},
		},
		"a Secret type without a Secret": {
			with(map[string]string{SecretType: "Opaque"}),
			[]string{`keyroll.dev/secret-type: "Opaque": has no effect without keyroll.dev/secret; name the Secret there`},
		},
		"a certificate's Secret from two secrets, and env": {
			with(map[string]string{Secret: "s", SecretType: "kubernetes.io/tls", Env: "A=db-username"}),
			[]string{
				`keyroll.dev/secret-type: "kubernetes.io/tls": holds a certificate and its key only, so keyroll.dev/env cannot take from it; remove one of the two`,
				`keyroll.dev/secret-type: "kubernetes.io/tls": needs exactly one object of type secret in keyroll.dev/objects, not 2; the vault gives a certificate's key and chain together as secret/NAME`,
			},
		},
		"a certificate's Secret is not held against objects that are wrong themselves": {
			with(map[string]string{Objects: "a_b", Secret: "s", SecretType: "kubernetes.io/tls"}),
			[]string{`keyroll.dev/objects: "a_b": is not a Key Vault object name (letters, digits and '-', at most 127); write its name in the vault, such as a-b`},
		},
		"a certificate's Secret without objects": {
			map[string]string{Secret: "s", SecretType: "kubernetes.io/tls"},
			[]string{
				`keyroll.dev/secret: has no effect without keyroll.dev/objects; write that too, or remove this annotation`,
				`keyroll.dev/secret-type: has no effect without keyroll.dev/objects; write that too, or remove this annotation`,
			},
		},
		"a certificate's Secret from the certificate alone": {
			with(map[string]string{Objects: "cert/web", Secret: "s", SecretType: "kubernetes.io/tls"}),
			[]string{`keyroll.dev/secret-type: "kubernetes.io/tls": needs exactly one object of type secret in keyroll.dev/objects, not 0; the vault gives a certificate's key and chain together as secret/NAME`},
		},
		"what an existing class decides": {
			with(map[string]string{
				SecretProviderClass: "akv-app-secrets", Vault: "shop-kv", Env: "A=db-username", Secret: "s", SecretType: "Opaque",
			}),
			[]string{
				`keyroll.dev/objects: cannot stand beside keyroll.dev/secret-provider-class, whose class decides that; remove one of the two`,
				`keyroll.dev/vault: cannot stand beside keyroll.dev/secret-provider-class, whose class decides that; remove one of the two`,
				`keyroll.dev/env: cannot stand beside keyroll.dev/secret-provider-class, whose class decides that; write the environment in the pod template, with secretKeyRef`,
				`keyroll.dev/secret: cannot stand beside keyroll.dev/secret-provider-class, whose class decides that; remove one of the two`,
				`keyroll.dev/secret-type: cannot stand beside keyroll.dev/secret-provider-class, whose class decides that; remove one of the two`,
			},
		},
		"words for true and false, and for a choice": {
			with(map[string]string{WorkloadIdentity: "no", Inject: "False", Restart: "always"}),
			[]string{
				`keyroll.dev/workload-identity: "no": is none of its values; write "true" or "false"`,
				`keyroll.dev/restart: "always": is none of its values; write "rolling" or "never"`,
				`keyroll.dev/inject: "False": is none of its values; write "true" or "false"`,
			},
		},
		"restart-on": {
			with(map[string]string{RestartOn: "app-secrets,auto,secret/A,secret/b,secret/b"}),
			[]string{
				`keyroll.dev/restart-on: "app-secrets": is not secret/NAME; write auto, or the Secrets as secret/NAME`,
				`keyroll.dev/restart-on: "auto": takes in every Secret, so it stands alone; write auto or a list`,
				`keyroll.dev/restart-on: "secret/A": is not a name of a Secret; write lower-case letters, digits, '-' and '.', as kubectl shows it`,
				`keyroll.dev/restart-on: "secret/b": is listed twice; remove one`,
			},
		},
		"opted out with a wrong restart": {
			map[string]string{Inject: "false", Restart: "Never"},
			[]string{`keyroll.dev/restart: "Never": is none of its values; write "rolling" or "never"`},
		},
		"a namespace's annotation": {
			with(map[string]string{AllowedVaults: "shop-kv"}),
			[]string{`keyroll.dev/allowed-vaults: is read on a namespace only; annotate the namespace, or remove it`},
		},
		"the namespace's label as annotation": {
			with(map[string]string{InjectionLabel: "enabled"}),
			[]string{`keyroll.dev/injection: is a label of the namespace; write kubectl label namespace NAME keyroll.dev/injection=enabled, and remove the annotation`},
		},
		"unknown keys, in order, with the nearest known": {
			with(map[string]string{Prefix + "client_id": "x", Prefix + "Vualt": "x", Prefix + "object": "x", Prefix + "keyvault": "x"}),
			[]string{
				`keyroll.dev/Vualt: is not known; did you mean keyroll.dev/vault?`,
				`keyroll.dev/client_id: is not known; did you mean keyroll.dev/client-id?`,
				`keyroll.dev/keyvault: is not known; did you mean keyroll.dev/vault?`,
				`keyroll.dev/object: is not known; did you mean keyroll.dev/objects?`,
			},
		},
		"unknown keys that are just near enough, and near to two": {
			with(map[string]string{Prefix + "enxy": "x", Prefix + "ent-id": "x"}),
			[]string{
				`keyroll.dev/ent-id: is not known; did you mean keyroll.dev/tenant-id?`,
				`keyroll.dev/enxy: is not known; did you mean keyroll.dev/env?`,
			},
		},
		"an unknown key that is longer than any": {
			with(map[string]string{Prefix + "secret-provider-class" + long[:50]: "x"}),
			[]string{`keyroll.dev/secret-provider-class` + long[:27] + `…: is not known; known are objects, vault, tenant-id, client-id, service-account, mount-path, containers, env, secret, secret-type, secret-provider-class, workload-identity, restart, restart-on, inject, allowed-vaults`},
		},
		"an unknown key that is near nothing": {
			with(map[string]string{Prefix + "xxxxxxxxxxxxxxxx": "x"}),
			[]string{`keyroll.dev/xxxxxxxxxxxxxxxx: is not known; known are objects, vault, tenant-id, client-id, service-account, mount-path, containers, env, secret, secret-type, secret-provider-class, workload-identity, restart, restart-on, inject, allowed-vaults`},
		},
		"all problems of all keys, in the order of the table": {
			map[string]string{
				Prefix + "z": "", AllowedVaults: "a", RestartOn: "a", Inject: "1", MountPath: "mnt", Objects: "_", Vault: "v",
			},
			[]string{
				`keyroll.dev/objects: "_": is not a Key Vault object name (letters, digits and '-', at most 127); write its name in the vault`,
				`keyroll.dev/vault: "v": is not a Key Vault name; write 3 to 24 letters, digits and single '-', a letter first, no '-' last`,
				`keyroll.dev/mount-path: "mnt": is not an absolute path; write one such as /mnt/secrets`,
				`keyroll.dev/restart-on: "a": is not secret/NAME; write auto, or the Secrets as secret/NAME`,
				`keyroll.dev/inject: "1": is none of its values; write "true" or "false"`,
				`keyroll.dev/allowed-vaults: is read on a namespace only; annotate the namespace, or remove it`,
				`keyroll.dev/z: is not known; known are objects, vault, tenant-id, client-id, service-account, mount-path, containers, env, secret, secret-type, secret-provider-class, workload-identity, restart, restart-on, inject, allowed-vaults`,
			},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, problems := Parse(tc.annotations)
			if diff := cmp.Diff(tc.want, lines(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// What is wrong does not come into the settings beside what is right.
func TestParseLeavesOutWhatIsWrong(t *testing.T) {
	got, problems := Parse(map[string]string{
		Objects: "a,b_c", Env: "A=a,B", Containers: "app,App", Vault: "shop-kv", ClientID: "x", MountPath: "x",
		SecretType: "x", RestartOn: "secret/a,b", WorkloadIdentity: "no", Restart: "x", Inject: "no",
	})
	if len(problems) != 10 {
		t.Errorf("%d problems: %v", len(problems), problems)
	}
	want := Settings{
		Objects: []Object{secret("a")}, Containers: []string{"app"}, Vault: "shop-kv", RestartOn: Triggers{Secrets: []string{"a"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	got, _ = Parse(with(map[string]string{Env: "A=db-username,B"}))
	if got.Env != nil {
		t.Errorf("env %v of which one is wrong", got.Env)
	}
}

func TestParseRefusesWhatHasNoEffect(t *testing.T) {
	values := map[string]string{
		Vault: "shop-kv", TenantID: someID, ClientID: someID, ServiceAccount: "web", MountPath: "/s", Containers: "app",
		Env: "A=a", Secret: "s", WorkloadIdentity: "false",
	}
	for key, value := range values {
		_, problems := Parse(map[string]string{key: value})
		want := []string{key + ": has no effect without keyroll.dev/objects; write that too, or remove this annotation"}
		if diff := cmp.Diff(want, lines(problems)); diff != "" {
			t.Errorf("%s alone (-want +got):\n%s", key, diff)
		}
	}
	for _, row := range Table {
		_, hasValue := values[row.Key]
		switch row.Key {
		case Objects, SecretType, SecretProviderClass, Restart, RestartOn, Inject, AllowedVaults:
		default:
			if !hasValue {
				t.Errorf("%s is not tried alone", row.Key)
			}
		}
	}
}

func TestParseVaults(t *testing.T) {
	cases := map[string]bool{
		"abc": true, "shop-kv": true, "Shop1": true, "a23456789012345678901234": true,
		"ab": false, "a234567890123456789012345": false, "1abc": false, "-abc": false, "abc-": false,
		"a--b": false, "a.b.c": false, "a_bc": false, "käse": false,
	}
	for name, want := range cases {
		_, problems := Parse(with(map[string]string{Vault: name}))
		if got := problems == nil; got != want {
			t.Errorf("vault %q: accepted is %v, want %v (%v)", name, got, want, problems)
		}
	}
}

func TestParseMountPaths(t *testing.T) {
	cases := map[string]string{
		"/mnt/secrets":                   "",
		"/a":                             "",
		"/mnt/se crets":                  "",
		"/":                              "would hide the container's whole file system; write a directory such as /mnt/secrets",
		"mnt":                            "is not an absolute path; write one such as /mnt/secrets",
		`C:\secrets`:                     "is not an absolute path; write one such as /mnt/secrets",
		"/mnt:ro":                        "holds ':' or a control character; write a path such as /mnt/secrets",
		"/mnt\x00":                       "holds ':' or a control character; write a path such as /mnt/secrets",
		"/mnt\xff":                       "holds ':' or a control character; write a path such as /mnt/secrets",
		"/mnt/":                          `is not in its shortest form; write "/mnt"`,
		"//mnt/../x/.":                   `is not in its shortest form; write "/x"`,
		"/var":                           "is at or above the directory of a token of the pod, /var/run/secrets/kubernetes.io/serviceaccount; write another, such as /mnt/secrets",
		"/var/run":                       "is at or above the directory of a token of the pod, /var/run/secrets/kubernetes.io/serviceaccount; write another, such as /mnt/secrets",
		"/run":                           "is at or above the directory of a token of the pod, /var/run/secrets/kubernetes.io/serviceaccount; write another, such as /mnt/secrets",
		"/var/run/secrets":               "is at or above the directory of a token of the pod, /var/run/secrets/kubernetes.io/serviceaccount; write another, such as /mnt/secrets",
		"/run/secrets":                   "is at or above the directory of a token of the pod, /var/run/secrets/kubernetes.io/serviceaccount; write another, such as /mnt/secrets",
		"/var/run/secrets/kubernetes.io": "is at or above the directory of a token of the pod, /var/run/secrets/kubernetes.io/serviceaccount; write another, such as /mnt/secrets",
		"/run/secrets/kubernetes.io/serviceaccount": "is at or above the directory of a token of the pod, /var/run/secrets/kubernetes.io/serviceaccount; write another, such as /mnt/secrets",
		"/var/run/secrets/azure/tokens":             "is at or above the directory of a token of the pod, /var/run/secrets/azure/tokens; write another, such as /mnt/secrets",
		"/run/secrets/azure":                        "is at or above the directory of a token of the pod, /var/run/secrets/azure/tokens; write another, such as /mnt/secrets",
		"/run/secrets/shop":                         "",
		"/var/run/secrets/kube":                     "",
		"/var/lib/shop":                             "",
		"/runs":                                     "",
		"/va":                                       "",
		"/" + strings.Repeat("a", 1023):             "",
		"/" + strings.Repeat("a", 1024):             "is longer than 1024 bytes; write a shorter path",
	}
	for value, want := range cases {
		_, problems := Parse(with(map[string]string{MountPath: value}))
		got := ""
		for _, p := range problems {
			got += p.Mend
		}
		if got != want {
			t.Errorf("mount path %q: %q, want %q", value, got, want)
		}
	}
}

func TestParseNamespace(t *testing.T) {
	cases := map[string]struct {
		annotations map[string]string
		want        Defaults
		problems    []string
	}{
		"nothing": {},
		"all of it": {
			annotations: map[string]string{
				Vault: "shop-kv", TenantID: someID, ClientID: someID, ServiceAccount: "web", AllowedVaults: "shop-kv,\nother-kv",
			},
			want: Defaults{
				Vault: "shop-kv", TenantID: someID, ClientID: someID, ServiceAccount: "web",
				AllowedVaults: []string{"shop-kv", "other-kv"},
			},
		},
		"wrong values": {
			annotations: map[string]string{Vault: "x", ClientID: "y", ServiceAccount: "Z"},
			problems: []string{
				`keyroll.dev/vault: "x": is not a Key Vault name; write 3 to 24 letters, digits and single '-', a letter first, no '-' last`,
				`keyroll.dev/client-id: "y": is not a client id; write the identity's client id, such as 01234567-89ab-cdef-0123-456789abcdef`,
				`keyroll.dev/service-account: "Z": is not a name of a ServiceAccount; write lower-case letters, digits, '-' and '.', as kubectl shows it`,
			},
		},
		"a workload's annotations, a typo, and the label as annotation": {
			annotations: map[string]string{Objects: "a", Restart: "never", Prefix + "vaults": "x", InjectionLabel: "enabled"},
			problems: []string{
				`keyroll.dev/objects: is not read on a namespace; annotate the workload, or remove it`,
				`keyroll.dev/restart: is not read on a namespace; annotate the workload, or remove it`,
				`keyroll.dev/injection: is a label of the namespace; write kubectl label namespace NAME keyroll.dev/injection=enabled, and remove the annotation`,
				`keyroll.dev/vaults: is not known; did you mean keyroll.dev/vault?`,
			},
		},
		"empty allowed vaults allow none": {
			annotations: map[string]string{AllowedVaults: ""},
			want:        Defaults{AllowedVaults: []string{}},
			problems:    []string{`keyroll.dev/allowed-vaults: is empty; write its value (Key Vault names, separated by commas), or remove the annotation`},
		},
		"too many allowed vaults allow none": {
			annotations: map[string]string{AllowedVaults: strings.Repeat("abc,", 101)},
			want:        Defaults{AllowedVaults: []string{}},
			problems:    []string{`keyroll.dev/allowed-vaults: lists 101; write at most 100`},
		},
		"allowed vaults that are partly wrong allow the rest": {
			annotations: map[string]string{AllowedVaults: "shop-kv,x"},
			want:        Defaults{AllowedVaults: []string{"shop-kv"}},
			problems:    []string{`keyroll.dev/allowed-vaults: "x": is not a Key Vault name; write 3 to 24 letters, digits and single '-', a letter first, no '-' last`},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, problems := ParseNamespace(tc.annotations)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("defaults (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.problems, lines(problems)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func lines(problems Problems) []string {
	var out []string
	for _, p := range problems {
		out = append(out, p.String())
	}
	return out
}

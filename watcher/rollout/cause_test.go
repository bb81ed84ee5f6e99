package rollout

import (
	"strings"
	"testing"
	"time"
)

func TestCause(t *testing.T) {
	long := strings.Repeat("4f2c9be1", 4)
	rotatedTo := func(v map[string]string) Pod {
		p := rotated("web-a", "", at(time.Hour))
		p.Mounts[0].Status.Versions = v
		return p
	}
	recorded := func(v map[string]string) Baseline {
		return Baseline{Classes: map[string]ClassBaseline{class: newClassBaseline(v, at(time.Minute))}}
	}
	many := func(version string) map[string]string {
		all := map[string]string{}
		for _, name := range strings.Split("a b c d e", " ") {
			all["secret/"+name] = version
		}
		return all
	}
	sibling := func(v map[string]string) Pod {
		p := firstMount("web-b")
		p.Mounts[0].Status.Versions = v
		return p
	}
	crowd := func() map[string]string {
		all := map[string]string{}
		for i := range maxVersions + 1 {
			all[strings.Repeat("x", i+1)] = "v1"
		}
		return all
	}

	tests := map[string]struct {
		vault    string
		pods     []Pod
		baseline Baseline
		want     string
	}{
		"one object": {
			"shop-kv", []Pod{rotatedTo(map[string]string{db: long})}, recorded(map[string]string{db: "9be1" + long}),
			"keyroll: secret/db-password changed in vault shop-kv (9be1... -> 4f2c...)",
		},
		"no vault": {
			"", []Pod{rotatedTo(versions("v2"))}, recorded(versions("v1")),
			"keyroll: secret/db-password changed (v1 -> v2)",
		},
		"versions that are paths, as Google's provider tells them": {
			"", []Pod{rotatedTo(versions("projects/1/secrets/db/versions/8"))}, recorded(versions("projects/1/secrets/db/versions/7")),
			"keyroll: secret/db-password changed (7 -> 8)",
		},
		"versions of eight and of nine letters": {
			"", []Pod{rotatedTo(versions("123456789"))}, recorded(versions("12345678")),
			"keyroll: secret/db-password changed (12345678 -> 1234...)",
		},
		"of several objects only those that changed": {
			"shop-kv", []Pod{rotatedTo(map[string]string{db: "v2", "secret/user": "v1"})}, recorded(map[string]string{db: "v1", "secret/user": "v1"}),
			"keyroll: secret/db-password changed in vault shop-kv (v1 -> v2)",
		},
		"many objects": {
			"shop-kv", []Pod{rotatedTo(many("v2"))}, recorded(many("v1")),
			"keyroll: secret/a, secret/b, secret/c and 2 more changed in vault shop-kv (v1 -> v2, v1 -> v2, v1 -> v2 and 2 more)",
		},
		"an object came and another went": {
			"shop-kv", []Pod{rotatedTo(map[string]string{"secret/new": "v1"})}, recorded(map[string]string{"secret/old": "v7"}),
			"keyroll: secret/new, secret/old changed in vault shop-kv (-> v1, v7 -> gone)",
		},
		"nothing recorded, one object": {
			"shop-kv", []Pod{rotatedTo(versions("v2"))}, Baseline{},
			"keyroll: secret/db-password changed in vault shop-kv (-> v2)",
		},
		"nothing recorded, several objects": {
			"shop-kv", []Pod{rotatedTo(map[string]string{db: "v2", "secret/user": "v1"})}, Baseline{},
			"keyroll: one or more of secret/db-password, secret/user changed in vault shop-kv",
		},
		"nothing recorded, but a sibling still has its first mount": {
			"shop-kv", []Pod{rotatedTo(map[string]string{db: "v2", "secret/user": "v1"}), sibling(map[string]string{db: "v1", "secret/user": "v1"})}, Baseline{},
			"keyroll: secret/db-password changed in vault shop-kv (v1 -> v2)",
		},
		"nothing recorded, and the sibling's first mount has the same": {
			"shop-kv", []Pod{rotatedTo(many("v2")), sibling(many("v2"))}, Baseline{},
			"keyroll: one or more of secret/a, secret/b, secret/c and 2 more changed in vault shop-kv",
		},
		"nothing recorded, and siblings have several first mounts: the newest of them": {
			"shop-kv", []Pod{
				rotatedTo(map[string]string{db: "v3", "secret/user": "v1"}),
				sibling(map[string]string{db: "v1", "secret/user": "v1"}),
				func() Pod {
					p := sibling(map[string]string{db: "v2", "secret/user": "v1"})
					p.Mounts[0].Status.Changed = at(3 * time.Second)
					return p
				}(),
				func() Pod {
					p := sibling(map[string]string{db: "v0", "secret/user": "v1"})
					p.Mounts[0].Status.Changed = at(time.Second)
					return p
				}(),
			}, Baseline{},
			"keyroll: secret/db-password changed in vault shop-kv (v2 -> v3)",
		},
		"recorded as it is now": {
			"shop-kv", []Pod{rotatedTo(versions("v2"))}, func() Baseline { b := recorded(versions("v2")); b.Stamp = "aa-1"; return b }(),
			"keyroll: secret/db-password changed in vault shop-kv (-> v2)",
		},
		"too many versions were recorded": {
			"shop-kv", []Pod{rotatedTo(versions("v2"))}, recorded(crowd()),
			"keyroll: secret/db-password changed in vault shop-kv (-> v2)",
		},
		"no objects": {
			"shop-kv", []Pod{rotatedTo(nil)}, Baseline{},
			"keyroll: content of keyroll-7c1e changed in vault shop-kv",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(Pod{})
			s.Pods, s.Baseline = tt.pods, tt.baseline
			s.Classes = map[string]Class{class: {Vault: tt.vault}}
			if got := decideAfter(3*time.Second, s, defaults()).Cause; got != tt.want {
				t.Errorf("Cause = %q\n want %q", got, tt.want)
			}
		})
	}
}

func TestCauseOfSeveral(t *testing.T) {
	secretOnly := func(names ...string) State {
		s := onePod(consumer(at(5 * time.Second)))
		s.Secrets, s.Baseline.Secrets = map[string]Secret{}, map[string]SecretBaseline{}
		for _, name := range names {
			s.Secrets[name] = Secret{Digest: "B", Trigger: true}
			s.Baseline.Secrets[name] = SecretBaseline{Digest: "A", Since: at(time.Minute)}
		}
		return s
	}
	twoClasses := onePod(rotated("web", "v2", at(time.Hour)))
	second := *twoClasses.Pods[0].Mounts[0].Status
	twoClasses.Pods[0].Mounts = append(twoClasses.Pods[0].Mounts, Mount{Class: "a-class", Status: &second})
	huge := onePod(rotated("web", "v2", at(time.Hour)))
	huge.Pods[0].Mounts[0].Status.Versions = map[string]string{strings.Repeat("é", maxCause): "v2"}

	tests := map[string]struct {
		s    State
		want string
	}{
		"a Secret":            {secretOnly("app-secrets"), "keyroll: Secret app-secrets changed"},
		"Secrets":             {secretOnly("b", "a"), "keyroll: Secrets a, b changed"},
		"two classes":         {twoClasses, "keyroll: secret/db-password changed (-> v2); secret/db-password changed (-> v2)"},
		"a cause without end": {huge, "keyroll: " + strings.Repeat("é", (maxCause-3-len("keyroll: "))/2) + "..."},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := decideAfter(time.Minute, tt.s, defaults()).Cause; got != tt.want {
				t.Errorf("Cause = %q\n want %q", got, tt.want)
			}
		})
	}
}

func TestPodNames(t *testing.T) {
	var pods []*judged
	for _, name := range []string{"d", "b", "a", "c"} {
		pods = append(pods, &judged{Pod: Pod{Name: name}})
	}
	if got, want := podNames(pods[:3]), "a, b, d"; got != want {
		t.Errorf("podNames() = %q, want %q", got, want)
	}
	if got, want := podNames(pods), "a, b, c and 1 more"; got != want {
		t.Errorf("podNames() = %q, want %q", got, want)
	}
}

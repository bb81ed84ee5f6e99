package rollout

import (
	"maps"
	"testing"
	"time"
)

func TestFingerprint(t *testing.T) {
	base := func() content {
		return content{
			classes: map[string]map[string]string{"a": {"secret/x": "1", "secret/y": "2"}, "b": {"secret/x": "1"}},
			secrets: map[string]string{"a": "A", "b": "B"},
		}
	}
	same := base().fingerprint(false)
	if again := base().fingerprint(false); again != same {
		t.Fatalf("differs from itself: %s, %s", same, again)
	}
	tests := map[string]struct {
		change         func(*content)
		capped         bool
		files, secrets bool // whether that half stays the same
	}{
		"another version":              {func(c *content) { c.classes["a"]["secret/x"] = "3" }, false, false, true},
		"another object":               {func(c *content) { c.classes["a"]["secret/z"] = "" }, false, false, true},
		"another class":                {func(c *content) { c.classes["c"] = nil }, false, false, true},
		"versions swapped":             {func(c *content) { c.classes["a"] = map[string]string{"secret/x": "2", "secret/y": "1"} }, false, false, true},
		"name and version run on":      {func(c *content) { c.classes["b"] = map[string]string{"secret/x1": ""} }, false, false, true},
		"another digest":               {func(c *content) { c.secrets["a"] = "C" }, false, true, false},
		"a Secret less":                {func(c *content) { delete(c.secrets, "a") }, false, true, false},
		"digests swapped":              {func(c *content) { c.secrets["a"], c.secrets["b"] = "B", "A" }, false, true, false},
		"a roll that could not wait":   {func(*content) {}, true, true, false},
		"classes known as Secrets too": {func(c *content) { maps.DeleteFunc(c.classes, func(string, map[string]string) bool { return true }) }, false, false, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c := base()
			tt.change(&c)
			got := c.fingerprint(tt.capped)
			if len(got) != 2*halfPrint {
				t.Fatalf("fingerprint %q has not two halves", got)
			}
			if files := got[:halfPrint] == same[:halfPrint]; files != tt.files {
				t.Errorf("half for files the same: %v, want %v", files, tt.files)
			}
			if secrets := got[halfPrint:] == same[halfPrint:]; secrets != tt.secrets {
				t.Errorf("half for Secrets the same: %v, want %v", secrets, tt.secrets)
			}
		})
	}
}

func TestReadStamp(t *testing.T) {
	tests := map[string]struct {
		fingerprint string
		generation  int64
	}{
		newStamp("4f2c", 17): {"4f2c", 17},
		"":                   {"", 0},
		"4f2c":               {"", 0},
		"4f2c-x":             {"", 0},
		"4f2c-":              {"", 0},
	}
	for stamp, want := range tests {
		t.Run(stamp, func(t *testing.T) {
			fingerprint, generation := readStamp(stamp)
			if fingerprint != want.fingerprint || generation != want.generation {
				t.Errorf("readStamp(%q) = %q, %d, want %q, %d", stamp, fingerprint, generation, want.fingerprint, want.generation)
			}
		})
	}
}

func TestNewestContent(t *testing.T) {
	status := func(version string, changed time.Time, generation int64) Status {
		return Status{Generation: generation, Changed: changed, Owner: "uid-web", Target: "uid-web", Versions: versions(version)}
	}
	pod := func(st Status) Pod {
		p := firstMount("web")
		p.Mounts[0].Status = &st
		return p
	}
	tests := map[string]struct {
		pod   Pod
		feeds []Status
		want  string // "" for none
	}{
		"what changed last":                     {pod(status("v1", at(time.Hour), 9)), []Status{status("v2", at(2*time.Hour), 1), status("v3", at(0), 5)}, "v2"},
		"in one second, what changed oftener":   {pod(status("v1", at(0), 2)), []Status{status("v2", at(0), 1)}, "v1"},
		"the other way round":                   {pod(status("v1", at(0), 1)), []Status{status("v2", at(0), 2)}, "v2"},
		"in one second, as often: by the text":  {pod(status("v1", at(0), 1)), []Status{status("v2", at(0), 1)}, map[bool]string{true: "v1", false: "v2"}[digestOf(versions("v1")) > digestOf(versions("v2"))]},
		"the same, the other way round":         {pod(status("v2", at(0), 1)), []Status{status("v1", at(0), 1)}, map[bool]string{true: "v1", false: "v2"}[digestOf(versions("v1")) > digestOf(versions("v2"))]},
		"the status of another pod of the name": {func() Pod { p := pod(status("v1", at(0), 1)); p.UID = "new"; return p }(), nil, ""},
		"no status of its own":                  {func() Pod { p := pod(Status{}); p.Mounts[0].Status = nil; return p }(), []Status{status("v2", at(0), 1)}, "v2"},
		"no status at all":                      {func() Pod { p := pod(Status{}); p.Mounts[0].Status = nil; return p }(), nil, ""},
		"an older revision":                     {func() Pod { p := pod(status("v1", at(0), 1)); p.Current = false; return p }(), nil, ""},
		"another stamp":                         {func() Pod { p := pod(status("v1", at(0), 1)); p.Stamp = "aa-2"; return p }(), nil, ""},
		"a finished pod":                        {func() Pod { p := pod(status("v1", at(0), 1)); p.Finished = true; return p }(), nil, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := onePod(tt.pod)
			s.Classes = map[string]Class{class: {Feeds: tt.feeds}}
			got := newestContent(s).classes[class][db]
			if got != tt.want {
				t.Errorf("newest = %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("a status of an older pod is news of the class", func(t *testing.T) {
		old := pod(status("v2", at(time.Hour), 2))
		old.Current = false
		s := onePod(pod(status("v1", at(0), 1)))
		s.Pods = append(s.Pods, old)
		if got := newestContent(s).classes[class][db]; got != "v2" {
			t.Errorf("newest = %q, want v2", got)
		}
	})
	t.Run("Secrets that are consumed and exist", func(t *testing.T) {
		s := State{Secrets: map[string]Secret{"a": {Digest: "A", Env: true}, "b": {Digest: "B", Trigger: true}, "c": {Digest: "C"}, "d": {Env: true}}}
		if got, want := newestContent(s).secrets, map[string]string{"a": "A", "b": "B"}; !maps.Equal(got, want) {
			t.Errorf("secrets = %v, want %v", got, want)
		}
	})
}

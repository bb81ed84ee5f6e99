package watcher

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keyroll.dev/watcher/rollout"
)

func TestFeedsTellTheNewestMountOfEachContent(t *testing.T) {
	r, f := &reported{}, &feeds{}
	k := classKey{shop, "files"}
	file := func(pod, version string, generation int64, changed time.Time) {
		s := r.slimStatus(podStatus(pod, "files", version, generation, changed))
		f.file(k, s.Name, func() *status { return s })
	}
	drop := func(pod string) {
		f.file(k, podStatus(pod, "files", "", 1, noon).Name, func() *status { return nil })
	}
	var c caches
	want := func(what string, want map[string]time.Time) {
		t.Helper()
		got := map[string]time.Time{}
		for _, told := range f.get(k, c.toldStatus) {
			for _, version := range told.Versions {
				got[version] = told.Changed
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", what, diff)
		}
	}

	want("nothing is mounted", map[string]time.Time{})
	drop("never-there")
	for i := range 100 {
		file(fmt.Sprint("web-", i), "v1", 1, noon.Add(time.Duration(i)*time.Second))
	}
	want("all hold the same", map[string]time.Time{"v1": noon.Add(99 * time.Second)})
	file("web-99", "v2", 2, noon.Add(time.Hour))
	want("the newest has changed", map[string]time.Time{"v1": noon.Add(98 * time.Second), "v2": noon.Add(time.Hour)})
	file("web-0", "v2", 2, noon.Add(2*time.Hour))
	want("another follows", map[string]time.Time{"v1": noon.Add(98 * time.Second), "v2": noon.Add(2 * time.Hour)})
	drop("web-0")
	want("and ends", map[string]time.Time{"v1": noon.Add(98 * time.Second), "v2": noon.Add(time.Hour)})
	for i := range 99 {
		drop(fmt.Sprint("web-", i))
	}
	want("one is left", map[string]time.Time{"v2": noon.Add(time.Hour)})
	drop("web-99")
	want("none is left", map[string]time.Time{})
	if len(f.of) > 0 {
		t.Errorf("%d classes are remembered that nothing mounts", len(f.of))
	}
}

func TestMountsThatHoldTheSameShareTheirVersions(t *testing.T) {
	r := &reported{}
	one, same := r.slimStatus(podStatus("a", "files", "v1", 1, noon)), r.slimStatus(podStatus("b", "files", "v1", 1, noon))
	other := r.slimStatus(podStatus("c", "files", "v2", 1, noon))
	if one.versions != same.versions {
		t.Error("equal versions are held twice")
	}
	if one.versions == other.versions {
		t.Error("other versions are taken for the same")
	}
	for i := range maxReported + 10 {
		r.slimStatus(podStatus("d", "files", fmt.Sprint(i), 1, noon))
	}
	if len(r.all) > maxReported {
		t.Errorf("%d sets of versions are remembered, want at most %d", len(r.all), maxReported)
	}
}

// BenchmarkFeeds is a rotation of a class with 10,000 mounts, each of which
// changes and has one workload ask.
func BenchmarkFeeds(b *testing.B) {
	const mounts = 10000
	r, f := &reported{}, &feeds{}
	k := classKey{shop, "files"}
	var c caches
	file := func(i int, version string) {
		s := r.slimStatus(podStatus(fmt.Sprint("web-", i), "files", version, 1, noon))
		f.file(k, s.Name, func() *status { return s })
	}
	for i := range mounts {
		file(i, "v0")
	}
	var told []rollout.Status
	for n := 0; b.Loop(); n++ {
		file(n%mounts, fmt.Sprint("v", 1+n/mounts))
		told = f.get(k, c.toldStatus)
	}
	if len(told) > 2 {
		b.Fatalf("%d statuses are told of one rotation", len(told))
	}
}

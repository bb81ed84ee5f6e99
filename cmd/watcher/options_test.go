package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"

	"keyroll.dev/internal/document"
	kubefake "keyroll.dev/internal/kube/fake"
	"keyroll.dev/watcher"
)

func parse(t *testing.T, args ...string) (options, error) {
	t.Helper()
	var o options
	fs := flag.NewFlagSet("watcher", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	o.addFlags(fs)
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	err := o.validate()
	o.settled()
	return o, err
}

func TestTheChartTellsTheDefaults(t *testing.T) {
	fs := flag.NewFlagSet("watcher", flag.ContinueOnError)
	new(options).addFlags(fs)
	document.CheckDefaults(t, "../../manifests/chart/values.yaml", "watcher", fs, "qps")
}

func TestOptions(t *testing.T) {
	tests := map[string]struct {
		args    []string
		wantErr string // "" for none
	}{
		"none":                        {nil, ""},
		"a negative pause":            {[]string{"--settle=-1s"}, "--settle must not be negative"},
		"no interval":                 {[]string{"--rotation-interval=0"}, "--rotation-interval must be longer than nothing"},
		"a negative number":           {[]string{"--max-parallel=-1"}, "--max-parallel must not be negative"},
		"no namespace":                {[]string{"--namespace="}, "--namespace must name"},
		"no lease":                    {[]string{"--lease="}, "--lease must name"},
		"a tenant that is none":       {[]string{"--tenant-id=a b"}, "--tenant-id"},
		"a kind without its group":    {[]string{"--owner-kinds=Rollout"}, "is not Kind.version.group"},
		"a kind":                      {[]string{"--owner-kinds=Rollout.v1alpha1.argoproj.io, Foo.v1.example.org"}, ""},
		"no requests at all":          {[]string{"--qps=0"}, "--qps must be a number of requests"},
		"what is no number":           {[]string{"--qps=NaN"}, "--qps must be a number of requests"},
		"a rate without a burst":      {[]string{"--qps=50", "--burst=0"}, "with a --burst of at least 1"},
		"a rate":                      {[]string{"--qps=50", "--burst=100"}, ""},
		"all that is wrong, at once":  {[]string{"--settle=-1s", "--namespace="}, "--namespace must name"},
		"a lease that cannot be kept": {[]string{"--lease-duration=5s"}, "--lease-duration must be longer than --renew-deadline"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parse(t, test.args...)
			switch {
			case test.wantErr == "" && err != nil:
				t.Errorf("error %v", err)
			case test.wantErr != "" && (err == nil || !strings.Contains(err.Error(), test.wantErr)):
				t.Errorf("error %v, want %q", err, test.wantErr)
			}
		})
	}
}

func TestSettleMaxFollowsTheRotationInterval(t *testing.T) {
	tests := map[string]struct {
		args []string
		want time.Duration
	}{
		"by default":            {nil, 4 * time.Minute},
		"with another interval": {[]string{"--rotation-interval=1h"}, time.Hour + 2*time.Minute},
		"unless it is given":    {[]string{"--rotation-interval=1h", "--settle-max=10s"}, 10 * time.Second},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := parse(t, test.args...)
			if err != nil || o.rollout.SettleMax != test.want {
				t.Errorf("settle-max %s, error %v; want %s", o.rollout.SettleMax, err, test.want)
			}
		})
	}
}

func TestOwnerKindsAreFoundWhereTheyAreServed(t *testing.T) {
	client := fake.NewClientset()
	client.Resources = []*metav1.APIResourceList{{
		GroupVersion: "argoproj.io/v1alpha1",
		APIResources: []metav1.APIResource{
			{Name: "rollouts/status", Kind: "Rollout", Namespaced: true},
			{Name: "rollouts", Kind: "Rollout", Namespaced: true},
		},
	}}
	o, err := parse(t, "--owner-kinds=Rollout.v1alpha1.argoproj.io,Foo.v1.example.org")
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	got, err := o.ownerKinds.find(t.Context(), kubefake.New(client), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	version := schema.GroupVersion{Group: "argoproj.io", Version: "v1alpha1"}
	want := []watcher.OwnerKind{{Kind: version.WithKind("Rollout"), Resource: version.WithResource("rollouts")}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !strings.Contains(log.String(), "Foo") {
		t.Errorf("the log tells nothing of the kind that is not served: %s", log.String())
	}
}

func TestRunRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, args := range [][]string{{"extra"}, {"--no-such-flag"}, {"--settle=-1s"}} {
		if err := run(context.Background(), args, io.Discard, io.Discard); err == nil {
			t.Errorf("%v is taken", args)
		}
	}
	if err := run(context.Background(), []string{"--help"}, io.Discard, io.Discard); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("--help answers %v", err)
	}
	var out bytes.Buffer
	if err := run(context.Background(), []string{"--version"}, &out, io.Discard); err != nil || out.Len() == 0 {
		t.Errorf("--version prints %q, error %v", out.String(), err)
	}
}

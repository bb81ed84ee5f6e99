package main

import (
	"bytes"
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keyroll.dev/internal/document"
)

func parse(t *testing.T, args ...string) options {
	t.Helper()
	var o options
	fs := flag.NewFlagSet("webhook", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	o.addFlags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestTheChartTellsTheDefaults(t *testing.T) {
	fs := flag.NewFlagSet("webhook", flag.ContinueOnError)
	new(options).addFlags(fs)
	const values = "../../manifests/chart/values.yaml"
	document.CheckDefaults(t, values, "webhook", fs)
	document.CheckDefaults(t, values, "certificates", fs, "leafDuration") // shorter where the CA's is
}

func TestOptionsAreChecked(t *testing.T) {
	tests := map[string]struct {
		args []string
		want string // a part of the error; "" for none
	}{
		"the defaults are right":              {nil, ""},
		"a tenant":                            {[]string{"--tenant-id=11111111-1111-1111-1111-111111111111"}, ""},
		"a tenant that is none":               {[]string{"--tenant-id=a_b"}, "--tenant-id is not a directory"},
		"no namespace":                        {[]string{"--namespace="}, "--namespace must not be empty"},
		"no Secret for the CA":                {[]string{"--ca-secret="}, "--ca-secret must not be empty"},
		"certificates from a Secret":          {[]string{"--cert-secret=tls"}, ""},
		"certificates from files":             {[]string{"--cert-file=c", "--key-file=k"}, ""},
		"a file without its key":              {[]string{"--cert-file=c"}, "--cert-file and --key-file need"},
		"a key without its file":              {[]string{"--key-file=k"}, "--cert-file and --key-file need"},
		"certificates from both":              {[]string{"--cert-file=c", "--key-file=k", "--cert-secret=tls"}, "exclude one another"},
		"a negative drain":                    {[]string{"--drain=-1s"}, "--drain and --linger must not be negative"},
		"a negative time to linger":           {[]string{"--linger=-1s"}, "--drain and --linger must not be negative"},
		"a leaf that outlives its CA":         {[]string{"--ca-duration=1h", "--leaf-duration=2h"}, "at most --ca-duration"},
		"a CA that has ended when it is made": {[]string{"--ca-duration=0s", "--leaf-duration=0s"}, "--ca-duration must be positive"},
		"a CA that lives shorter than leaves": {[]string{"--ca-duration=72h"}, ""},
		"a negative life":                     {[]string{"--leaf-duration=-1h"}, "--leaf-duration must not be negative"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := parse(t, tc.args...)
			switch err := o.validate(); {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestNamesOfTheCertificate(t *testing.T) {
	tests := map[string]struct{ args, want []string }{
		"those of the Service": {nil, []string{
			"keyroll-webhook.keyroll-system.svc", "keyroll-webhook.keyroll-system", "keyroll-webhook.keyroll-system.svc.cluster.local",
		}},
		"of another namespace": {[]string{"--namespace=ops"}, []string{
			"keyroll-webhook.ops.svc", "keyroll-webhook.ops", "keyroll-webhook.ops.svc.cluster.local",
		}},
		"given ones": {[]string{"--dns-names=localhost, 127.0.0.1,"}, []string{"localhost", "127.0.0.1"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			o := parse(t, tc.args...)
			if diff := cmp.Diff(tc.want, o.names()); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRunTellsItsVersion(t *testing.T) {
	var stdout bytes.Buffer
	if err := run(t.Context(), []string{"--version"}, &stdout, io.Discard); err != nil || stdout.Len() < 2 {
		t.Errorf("version %q, error %v", stdout.String(), err)
	}
}

func TestRunRefusesArguments(t *testing.T) {
	err := run(t.Context(), []string{"serve"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), `"serve"`) {
		t.Errorf("error %v", err)
	}
}

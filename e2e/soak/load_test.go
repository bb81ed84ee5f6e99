package soak

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// load makes attempts at an even rate, whether the ones before have ended or not.
func load(ctx context.Context, rate int, r *record, try func(context.Context) (outcome, string)) {
	var running sync.WaitGroup
	defer running.Wait()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		running.Go(func() {
			r.run(func() (outcome, string) { return try(context.WithoutCancel(ctx)) })
		})
	}
}

// admittedSince waits until the newest attempt of each load, begun since then, was
// admitted: what was hurt before has healed.
func admittedSince(ctx context.Context, since time.Time, loads ...*record) error {
	return until(ctx, "admissions afterwards", func() string {
		for _, r := range loads {
			switch newest := r.newest(); {
			case newest.at.Before(since):
				return "none has ended"
			case newest.outcome != admitted:
				return string(newest.outcome) + ": " + newest.why
			}
		}
		return ""
	})
}

// podCreator answers a function that creates one more pod of the namespace.
func podCreator(t *testing.T, ns string) func(context.Context) (outcome, string) {
	t.Helper()
	config := shared.Admin()
	config.Timeout = 20 * time.Second // more than any admission may take
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	return func(ctx context.Context) (outcome, string) {
		pod, err := client.CoreV1().Pods(ns).Create(ctx, asking(fmt.Sprintf("pod-%d", n.Add(1))), metav1.CreateOptions{})
		return judge(pod, err)
	}
}

func judge(pod *corev1.Pod, err error) (outcome, string) {
	switch {
	case err == nil && injected(pod) == "":
		return admitted, ""
	case err == nil:
		return refused, "created without injection: " + injected(pod)
	case isUnheard(err):
		return unheard, err.Error()
	}
	return refused, withoutName(err.Error(), pod)
}

// isUnheard is whether err is that of an API server which is ending, away or
// starting, and says nothing of the webhook.
func isUnheard(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return true
	}
	switch status.Status().Code {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	case http.StatusForbidden:
		return strings.Contains(err.Error(), "not yet ready to handle request")
	}
	return false
}

// withoutName makes equal what is the same for each pod.
func withoutName(text string, pod *corev1.Pod) string {
	if pod != nil && pod.Name != "" {
		text = strings.ReplaceAll(text, pod.Name, "...")
	}
	return text
}

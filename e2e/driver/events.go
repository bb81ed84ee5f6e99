package driver

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
)

// events sends one component's events, at most burst about one object at once,
// and then one in five minutes, as every component does.
type events struct {
	record.EventRecorder
	end func() // drops what is not sent yet
}

func newEvents(c *client, source corev1.EventSource, burst int) *events {
	broadcaster := record.NewBroadcasterWithCorrelatorOptions(record.CorrelatorOptions{BurstSize: burst})
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.CoreV1().Events("")})
	return &events{EventRecorder: broadcaster.NewRecorder(scheme.Scheme, source), end: broadcaster.Shutdown}
}

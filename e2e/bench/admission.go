package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/install"
	"keyroll.dev/internal/annotation"
)

// Namespaces of the admission suite.
const (
	ourNamespace   = "bench"         // enabled: the API server calls the webhook
	floorNamespace = "bench-floor"   // it calls the floor server
	equalNamespace = "bench-equal"   // it calls a floor server that answers the webhook's own patch
	bareNamespace  = "bench-without" // it calls nobody
)

// Names in our manifests.
const (
	configurationName = "akv-keyroll"
	podsWebhook       = "pods.keyroll.dev"
)

// admission measures the webhook: asked directly, and by the API server.
func admission(ctx context.Context, r *report) error {
	r.say("boot a control plane, the webhook and the floor server")
	a, err := beginAdmission(ctx, r)
	if err != nil {
		return err
	}
	defer a.cluster.Stop()
	return errors.Join(a.loads(ctx, r), a.garbage(ctx, r), a.creations(ctx, r))
}

type admissionBench struct {
	cluster    *cluster.Cluster
	webhook    *install.Process
	floor      *floor
	ours, bare server
}

func beginAdmission(ctx context.Context, r *report) (*admissionBench, error) {
	c, err := cluster.Start(ctx, cluster.Options{Nodes: -1, Out: r.progress})
	if err != nil {
		return nil, err
	}
	a := &admissionBench{cluster: c}
	if err := a.begin(ctx); err != nil {
		c.Stop()
		return nil, err
	}
	return a, nil
}

func (a *admissionBench) begin(ctx context.Context) error {
	keyroll, err := install.Apply(ctx, a.cluster, install.Options{})
	if err != nil {
		return err
	}
	var args []string
	if *logs != "" {
		args = append(args, "--pprof")
	}
	if a.webhook, err = keyroll.StartWebhook(ctx, args...); err != nil {
		return err
	}
	if err := a.namespaces(ctx); err != nil {
		return err
	}
	if err := a.webhook.WaitReady(ctx); err != nil {
		return err
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	if a.floor, err = a.startFloor(ctx, floorCommand, nil); err != nil {
		return err
	}
	a.bare, err = newServer("the floor", a.floor.address, a.floor.Pid(), a.floor.ca)
	return err
}

// connect has both the bench and the API server call the webhook's process
// itself, as they call the floor: what stands where a Service would is a relay.
func (a *admissionBench) connect(ctx context.Context) error {
	_, port, err := net.SplitHostPort(a.webhook.ListenAddress())
	if err != nil {
		return err
	}
	address := net.JoinHostPort("localhost", port)
	client := a.cluster.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	var ca []byte
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error { // the webhook writes its CA there
		configuration, err := client.Get(ctx, configurationName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for i := range configuration.Webhooks {
			config := &configuration.Webhooks[i].ClientConfig
			at, err := url.Parse(*config.URL)
			if err != nil {
				return err
			}
			at.Host, ca = address, config.CABundle
			config.URL = ptr.To(at.String())
		}
		_, err = client.Update(ctx, configuration, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	a.ours, err = newServer("the webhook", address, a.webhook.Pid(), ca)
	return err
}

func (a *admissionBench) startFloor(ctx context.Context, name string, patch []byte) (*floor, error) {
	f, err := startFloor(ctx, a.cluster.LogDir(), name, patch)
	if err == nil {
		a.cluster.AtStop(f.Kill)
	}
	return f, err
}

func (a *admissionBench) namespaces(ctx context.Context) error {
	for name, labels := range map[string]map[string]string{
		ourNamespace:   {annotation.InjectionLabel: annotation.InjectionEnabled},
		floorNamespace: nil, equalNamespace: nil, bareNamespace: nil,
	} {
		if err := a.cluster.Namespace(ctx, name, labels); err != nil {
			return err
		}
		web := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: account, Annotations: map[string]string{
			annotation.IdentityClientID: clientID, annotation.IdentityTenantID: tenantID,
		}}}
		if _, err := a.cluster.Client().CoreV1().ServiceAccounts(name).Create(ctx, web, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	vault := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"shop-kv"}}}`, annotation.Vault)
	_, err := a.cluster.Client().CoreV1().Namespaces().Patch(ctx, ourNamespace, "application/merge-patch+json", vault, metav1.PatchOptions{})
	return err
}

// subject is a pod that is asked about.
type subject struct {
	name     string
	template *corev1.Pod
	cpu      float64 // how many times the floor's CPU time it may take
	rate     float64 // reviews per second that there are to be over 8 connections; 0: not said
	memory   float64 // MiB that it may take with 64 connections; 0: not said
}

var subjects = []subject{
	{name: "pod that needs nothing", template: template(3, 2, 5, nil), cpu: 2},
	{name: "pod of one container", template: template(1, 0, 3, asks)},
	{name: "pod of 3 + 2 containers", template: template(3, 2, 5, asks), cpu: 2.5, rate: 6000},
	{name: "pod of 3 + 2 containers with env", template: template(3, 2, 5, withEnv())},
	{name: "large pod", template: template(3, 2, 324, asks), cpu: 8, memory: 64},
	{name: "large pod with env", template: template(3, 2, 324, withEnv())},
}

// loads asks both servers about each subject over a few and over many connections.
func (a *admissionBench) loads(ctx context.Context, r *report) error {
	for _, s := range subjects {
		body, err := a.review(ctx, s)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		name := fmt.Sprintf("%s (%.0f KB)", s.name, float64(len(body))/1000)
		for _, connections := range []int{1, 8, 64} {
			r.say("%s over %d connections", name, connections)
			if err := a.loadBoth(ctx, r, s, name, body, connections); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	return nil
}

// review is what the API server would send of the subject. It has filled in
// what pods have before they reach a webhook.
func (a *admissionBench) review(ctx context.Context, s subject) ([]byte, error) {
	pod, err := a.cluster.Client().CoreV1().Pods(bareNamespace).Create(ctx, s.template, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return nil, err
	}
	pod.Namespace, pod.UID, pod.Name = ourNamespace, "", ""
	body, err := reviewOf(pod)
	if err != nil {
		return nil, err
	}
	return body, a.checkAnswer(ctx, s, body)
}

func (a *admissionBench) loadBoth(ctx context.Context, r *report, s subject, name string, body []byte, connections int) error {
	bare, ours, err := measureBoth(ctx, a.bare, a.ours, body, connections)
	if err != nil {
		return err
	}
	over := fmt.Sprintf("%s, %d connections: ", name, connections)
	cpu := figure{what: over + "CPU", unit: "ms", ours: ms(ours.cpu), bare: ms(bare.cpu)}
	rate := figure{what: over + "reviews per second of a core's time", unit: "1/s", ours: perSecond(ours.cpu), bare: perSecond(bare.cpu)}
	peak := figure{what: over + "peak memory", unit: "MiB", ours: ours.peak, bare: bare.peak}
	if connections == 1 && s.cpu > 0 {
		cpu.held = timesBare(s.cpu)
	}
	if connections == 8 && s.rate > 0 {
		rate.held = atLeast(s.rate)
	}
	if connections == 64 && s.memory > 0 {
		peak.held = atMost(s.memory)
	}
	r.add(cpu)
	if connections == 8 {
		r.add(rate)
	}
	r.add(figure{what: over + "reviews per second, clients on the same cores", unit: "1/s", ours: ours.rate, bare: bare.rate})
	r.add(figure{what: over + "p50", unit: "ms", ours: ms(ours.p50), bare: ms(bare.p50)})
	r.add(figure{what: over + "p99", unit: "ms", ours: ms(ours.p99), bare: ms(bare.p99)})
	if connections == 64 {
		r.add(peak)
	}
	return a.profile(ctx, fmt.Sprintf("%s %d", s.name, connections), body, connections)
}

// profile keeps what the webhook does under a load, if logs are kept.
func (a *admissionBench) profile(ctx context.Context, what string, body []byte, connections int) error {
	if *logs == "" {
		return nil
	}
	const seconds = 3
	wait := saveCPU(ctx, a.webhook, what, seconds)
	_, err := a.ours.load(ctx, body, connections, seconds*time.Second)
	return errors.Join(err, wait())
}

// perSecond is how many of what takes so long there are in a second.
func perSecond(d time.Duration) float64 { return float64(time.Second) / float64(max(d, 1)) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// creations measures what the API server's clients notice: creating a pod with
// the webhook, with a floor in its place, and with none. One floor lets the pod in
// as it is; the other answers the patch that the webhook does, so that what the
// API server has to do after a patch is in both figures.
func (a *admissionBench) creations(ctx context.Context, r *report) error {
	asking := subject{name: "pod to create", template: template(3, 2, 5, asks)}
	if err := a.callFloors(ctx, asking); err != nil {
		return err
	}
	r.say("pods created on the API server")
	annotated, err := a.create(ctx, asking.template)
	if err != nil {
		return err
	}
	r.add(figure{what: "creating an annotated pod, p50", unit: "ms", ours: annotated[ourNamespace], bare: annotated[floorNamespace], held: overBare(1.5)})
	r.add(figure{what: "the same beside a floor that answers the same patch, p50", unit: "ms", ours: annotated[ourNamespace], bare: annotated[equalNamespace], held: overBare(1.5)})
	r.add(figure{what: "the same beside no webhook at all, p50", unit: "ms", ours: annotated[ourNamespace], bare: annotated[bareNamespace]})
	before, err := a.cluster.WebhookCalls(ctx, podsWebhook)
	if err != nil {
		return err
	}
	plain, err := a.create(ctx, template(3, 2, 5, nil))
	if err != nil {
		return err
	}
	after, err := a.cluster.WebhookCalls(ctx, podsWebhook)
	r.add(figure{what: "creating a pod without annotations beside no webhook, p50", unit: "ms", ours: plain[ourNamespace], bare: plain[bareNamespace]})
	r.add(figure{what: "calls of the webhook for pods without annotations", ours: float64(after - before), held: atMost(0)})
	return err
}

// create creates pods in turn in all namespaces, and answers the median for each.
func (a *admissionBench) create(ctx context.Context, pod *corev1.Pod) (map[string]float64, error) {
	took := map[string][]time.Duration{}
	names := []string{ourNamespace, floorNamespace, equalNamespace, bareNamespace}
	const warmUp = 20
	for i := range warmUp + scaled(400) {
		for j := range names {
			name := names[(i+j)%len(names)] // so that each follows each
			d, err := createOne(ctx, a.cluster.Client(), name, pod)
			if err != nil {
				return nil, err
			}
			if i >= warmUp {
				took[name] = append(took[name], d)
			}
		}
	}
	medians := map[string]float64{}
	for name := range took {
		medians[name] = ms(median(took[name]))
	}
	return medians, nil
}

func createOne(ctx context.Context, client kubernetes.Interface, namespace string, pod *corev1.Pod) (time.Duration, error) {
	begun := time.Now()
	_, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	return time.Since(begun), err
}

// callFloors has the API server call a floor for pods of each of their
// namespaces, as it calls the webhook for those of its own.
func (a *admissionBench) callFloors(ctx context.Context, asking subject) error {
	body, err := a.review(ctx, asking)
	if err != nil {
		return err
	}
	patch, err := a.patch(ctx, body)
	if err != nil {
		return err
	}
	equal, err := a.startFloor(ctx, floorCommand+"-equal", patch)
	if err != nil {
		return err
	}
	if err := a.call(ctx, a.floor, floorNamespace); err != nil {
		return err
	}
	if err := a.call(ctx, equal, equalNamespace); err != nil {
		return err
	}
	// The API server takes it up within a second or so.
	const settle = 3 * time.Second
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(settle):
		return nil
	}
}

// call has the API server call a floor for pods of a namespace.
func (a *admissionBench) call(ctx context.Context, f *floor, namespace string) error {
	client := a.cluster.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	ours, err := client.Get(ctx, configurationName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	to := "https://" + f.address + "/pods"
	hook := ours.Webhooks[slices.IndexFunc(ours.Webhooks, func(w admissionregistrationv1.MutatingWebhook) bool { return w.Name == podsWebhook })]
	hook.Name = namespace + ".keyroll.dev"
	hook.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: &to, CABundle: f.ca}
	hook.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}
	_, err = client.Create(ctx, &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: namespace}, Webhooks: []admissionregistrationv1.MutatingWebhook{hook},
	}, metav1.CreateOptions{})
	return err
}

package driver

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"keyroll.dev/e2e/vault"
)

func TestAPodWaitsForItsClass(t *testing.T) {
	both(t, func(t *testing.T, g Generation) {
		w := newWorld(t, func(c *Config) { c.Generation = g })
		w.vault.Set(keyVault, vault.Secret, "db-password", "one")
		w.pod("web-1", mountOf("late", nil))
		w.event("web-1", "FailedMount", `MountVolume.SetUp failed for volume "vault" : rpc error: code = Unknown desc = failed to get secretproviderclass `+
			w.ns+`/late, error: SecretProviderClass.secrets-store.csi.x-k8s.io "late" not found`)
		pod := w.getPod("web-1")
		waiting := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
		if pod.Status.Phase != corev1.PodPending || len(pod.Status.ContainerStatuses) != 1 {
			t.Fatalf("phase %s, containers %v", pod.Status.Phase, pod.Status.ContainerStatuses)
		}
		if diff := cmp.Diff(waiting, pod.Status.ContainerStatuses[0].State); diff != "" {
			t.Errorf("state (-want +got):\n%s", diff)
		}
		w.class("late", "", "db-password")
		w.ready("web-1")
	})
}

func TestMountsThatAreRefused(t *testing.T) {
	tests := map[string]struct {
		class func(*Class)
		pod   func(*corev1.PodSpec)
		cfg   func(*Config)
		vault func(*vault.Service)
		want  string // after rpc error: code = Unknown desc =, unless it begins with rpc
	}{
		"a class without parameters": {
			class: func(c *Class) { c.Spec.Parameters = nil },
			want:  "parameters not set in <ns>/web",
		},
		"a class without provider": {
			class: func(c *Class) { c.Spec.Provider = "" },
			want:  "provider not set in <ns>/web",
		},
		"a volume that may be written": {
			pod:  func(p *corev1.PodSpec) { p.Volumes[0].CSI.ReadOnly = nil },
			want: "rpc error: code = InvalidArgument desc = Readonly is not true in request",
		},
		"a volume without class": {
			pod:  func(p *corev1.PodSpec) { p.Volumes[0].CSI.VolumeAttributes = nil },
			want: "secretProviderClass is not set",
		},
		"no objects": {
			class: func(c *Class) { c.Spec.Parameters["objects"] = "array: []" },
			want:  "failed to mount secrets store objects for pod <ns>/web-1, err: missing object versions",
		},
		"an object that is not in the vault": {
			class: func(c *Class) { c.Spec.Parameters["objects"] = objectsText("db-passwort") },
			want: "failed to mount secrets store objects for pod <ns>/web-1, err: rpc error: code = Unknown desc = failed to mount objects, error: " +
				"failed to get objectType:secret, objectName:db-passwort, objectVersion:: GET https://shop-kv.vault.azure.net/secrets/db-passwort/\n" +
				strings.Repeat("-", 80) + "\nRESPONSE 404: 404 Not Found\nERROR CODE: SecretNotFound\n" + strings.Repeat("-", 80) + "\n",
		},
		"a ServiceAccount that is not federated": {
			vault: func(v *vault.Service) {
				v.Allow(vault.Identity{TenantID: tenant, ClientID: clientID, Subjects: []string{"system:serviceaccount:elsewhere:web"}})
			},
			want: "failed to mount secrets store objects for pod <ns>/web-1, err: rpc error: code = Unknown desc = failed to mount objects, error: " +
				"failed to get objectType:secret, objectName:db-password, objectVersion:: ClientAssertionCredential authentication failed. \n" +
				"POST https://login.microsoftonline.com/" + tenant + "/oauth2/v2.0/token\n" +
				strings.Repeat("-", 80) + "\nRESPONSE 401: 401 Unauthorized\nERROR CODE: invalid_client\n" + strings.Repeat("-", 80) + "\n",
		},
		"no tokens from the kubelet": {
			cfg: func(c *Config) { c.NoTokens = true },
			want: "failed to mount secrets store objects for pod <ns>/web-1, err: rpc error: code = Unknown desc = failed to mount objects, error: " +
				"failed to build auth config for mode None: failed to parse workload identity tokens, error: service account tokens not found",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.cfg)
			w.vault.Set(keyVault, vault.Secret, "db-password", "one")
			if test.vault != nil {
				test.vault(w.vault)
			}
			class := w.class("unused", "", "db-password")
			class.ObjectMeta = metav1.ObjectMeta{Name: "web", Namespace: w.ns}
			if test.class != nil {
				test.class(class)
			}
			w.create(class)
			spec := mountOf("web", nil)
			if test.pod != nil {
				test.pod(&spec)
			}
			w.pod("web-1", spec)
			want := strings.ReplaceAll(test.want, "<ns>", w.ns)
			if !strings.HasPrefix(want, "rpc error") {
				want = "rpc error: code = Unknown desc = " + want
			}
			w.event("web-1", "FailedMount", `MountVolume.SetUp failed for volume "vault" : `+want)
			if starts := w.d.Starts(w.ns); len(starts) > 0 {
				t.Errorf("containers started: %v", starts)
			}
		})
	}
}

func TestAPodWaitsForItsSecret(t *testing.T) {
	w := newWorld(t, nil)
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	consumer := corev1.PodSpec{Containers: mountOf("", map[string]string{"DB_PASSWORD": "web-synced/db-password"}).Containers}
	consumer.Containers[0].VolumeMounts = nil
	w.pod("consumer", consumer)
	w.event("consumer", "Failed", `Error: secret "web-synced" not found`)
	w.until("CreateContainerConfigError", func() string {
		state := w.getPod("consumer").Status.ContainerStatuses[0].State
		want := corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: `secret "web-synced" not found`}}
		return cmp.Diff(want, state)
	})
	w.class("web", "web-synced", "db-password")
	w.pod("web-1", mountOf("web", nil))
	w.ready("consumer")
	if starts := w.d.Starts(w.ns); starts[len(starts)-1].Pod == "consumer" && starts[len(starts)-1].Env["DB_PASSWORD"] != "one" {
		t.Errorf("it started with %v", starts)
	}
}

func TestAContainerThatCrashesReadsItsEnvironmentAnew(t *testing.T) {
	w := newWorld(t, nil)
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	w.class("web", "web-synced", "db-password")
	w.pod("web-1", mountOf("web", map[string]string{"DB_PASSWORD": "web-synced/db-password"}))
	w.ready("web-1")
	w.vault.Set(keyVault, vault.Secret, "db-password", "two")
	w.d.PollPod(w.ns, "web-1")
	w.secretHolds("web-synced", "db-password", "two")
	if err := w.d.CrashContainer(t.Context(), w.ns, "web-1", ""); err != nil {
		t.Fatal(err)
	}
	w.until("the second start", func() string {
		if len(w.d.Starts(w.ns)) < 2 || w.getPod("web-1").Status.ContainerStatuses[0].RestartCount < 1 {
			return "not yet"
		}
		return ""
	})
	first, second := w.d.Starts(w.ns)[0], w.d.Starts(w.ns)[1]
	if first.Env["DB_PASSWORD"] != "one" || second.Env["DB_PASSWORD"] != "two" || second.Files["/mnt/secrets/db-password"].Value != "two" {
		t.Errorf("started with %v and %v, then with %v and %v", first.Env, first.Files, second.Env, second.Files)
	}
	cs := w.ready("web-1").Status.ContainerStatuses[0]
	if cs.RestartCount != 1 || second.RestartCount != 1 || cs.LastTerminationState.Terminated == nil || cs.LastTerminationState.Terminated.ExitCode != 1 {
		t.Errorf("status %v", cs)
	}
	if !cs.State.Running.StartedAt.Time.Equal(second.StartedAt) {
		t.Errorf("the status says %v, the record %v", cs.State.Running.StartedAt, second.StartedAt)
	}
	if err := w.d.CrashContainer(t.Context(), w.ns, "web-1", "nope"); err == nil {
		t.Error("a container that is not there crashed")
	}
}

func TestTheNodesClock(t *testing.T) {
	const ahead = time.Hour
	w := newWorld(t, func(c *Config) {
		c.Clock = map[string]time.Duration{"node-1": ahead, "node-2": ahead, "node-3": ahead}
	})
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	w.class("web", "", "db-password")
	w.pod("web-1", mountOf("web", nil))
	pod := w.ready("web-1")
	started := pod.Status.ContainerStatuses[0].State.Running.StartedAt
	if got := started.Sub(pod.CreationTimestamp.Time); got < ahead-time.Second || got > 2*ahead {
		t.Errorf("started %v after its creation", got)
	}
	start := w.d.Starts(w.ns)[0]
	if !start.StartedAt.Equal(started.Time) || start.At.After(start.StartedAt) {
		t.Errorf("the record says %v at %v", start.StartedAt, start.At)
	}
}

func TestInitContainersSidecarsAndSubPaths(t *testing.T) {
	w := newWorld(t, nil)
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	w.class("web", "web-synced", "db-password")
	spec := mountOf("web", map[string]string{"DB_PASSWORD": "web-synced/db-password"})
	spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts, corev1.VolumeMount{Name: "vault", MountPath: "/etc/pw", SubPath: "db-password"})
	migrate := *spec.Containers[0].DeepCopy()
	migrate.Name = "migrate"
	proxy := *migrate.DeepCopy()
	proxy.Name, proxy.RestartPolicy, proxy.Env = "proxy", ptr.To(corev1.ContainerRestartPolicyAlways), nil
	spec.InitContainers = []corev1.Container{migrate, proxy}
	w.pod("web-1", spec)
	pod := w.ready("web-1")
	if s := pod.Status.InitContainerStatuses; s[0].State.Terminated == nil || s[0].State.Terminated.Reason != "Completed" || s[1].State.Running == nil {
		t.Errorf("init containers: %v", s)
	}
	var order []string
	for _, s := range w.d.Starts(w.ns) {
		order = append(order, s.Container)
		if s.Files["/etc/pw"].Value != "one" || s.Files["/mnt/secrets/db-password"].Value != "one" {
			t.Errorf("%s started with %v", s.Container, s.Files)
		}
	}
	if diff := cmp.Diff([]string{"migrate", "proxy", "app"}, order); diff != "" {
		t.Errorf("order of starts (-want +got):\n%s", diff)
	}
	w.vault.Set(keyVault, vault.Secret, "db-password", "two")
	w.d.Poll()
	w.generation("web-1", "web", 2)
	for _, h := range w.d.Current(w.ns) {
		if h.Container == "migrate" || h.Files["/mnt/secrets/db-password"].Value != "two" || h.Files["/etc/pw"].Value != "one" {
			t.Errorf("%s holds %v", h.Container, h.Files)
		}
	}
}

func TestVolumesOfSecretsFollowAtTheNextLook(t *testing.T) {
	w := newWorld(t, nil)
	_, err := w.kube.CoreV1().Secrets(w.ns).Create(t.Context(), &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "mine"}, StringData: map[string]string{"a": "1", "b": "2"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec := corev1.PodSpec{
		Containers: []corev1.Container{{
			Name: "app", Image: "app:1", EnvFrom: []corev1.EnvFromSource{{Prefix: "MY_", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "mine"}}}},
			VolumeMounts: []corev1.VolumeMount{{Name: "s", MountPath: "/s"}},
		}},
		Volumes: []corev1.Volume{{Name: "s", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "mine"}, Items: []corev1.KeyToPath{{Key: "a", Path: "x/a"}}}},
		}}}}},
	}
	w.pod("consumer", spec)
	w.ready("consumer")
	start := w.d.Starts(w.ns)[0]
	if diff := cmp.Diff(map[string]string{"MY_a": "1", "MY_b": "2"}, start.Env); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]File{"/s/x/a": {Secret: "mine", Value: "1"}}, start.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	w.patchSecret("mine", `{"stringData":{"a":"3"}}`)
	w.d.nodes[start.Node].look(func(w *worker) bool { return true })
	w.until("the new value", func() string {
		return cmp.Diff(map[string]File{"/s/x/a": {Secret: "mine", Value: "3"}}, w.d.Current(w.ns)[0].Files)
	})
}

func TestPodsThatEnd(t *testing.T) {
	w := newWorld(t, nil)
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	w.class("web", "", "db-password")
	spec := mountOf("web", nil)
	spec.RestartPolicy = corev1.RestartPolicyNever
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "once", Annotations: map[string]string{CompleteAfter: "10ms"}}, Spec: spec}
	if _, err := w.kube.CoreV1().Pods(w.ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until("its success", func() string {
		if phase := w.getPod("once").Status.Phase; phase != corev1.PodSucceeded {
			return string(phase)
		}
		return ""
	})
	want := []corev1.PodCondition{
		{Type: corev1.PodReady, Status: corev1.ConditionFalse, Reason: "PodCompleted"},
		{Type: corev1.ContainersReady, Status: corev1.ConditionFalse, Reason: "PodCompleted"},
		{Type: corev1.PodInitialized, Status: corev1.ConditionTrue},
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
		{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse},
	}
	byType := cmpopts.SortSlices(func(a, b corev1.PodCondition) bool { return a.Type < b.Type })
	if diff := cmp.Diff(want, w.getPod("once").Status.Conditions, byType, cmpopts.IgnoreFields(corev1.PodCondition{}, "LastTransitionTime", "LastProbeTime", "ObservedGeneration")); diff != "" {
		t.Errorf("conditions (-want +got):\n%s", diff)
	}
	w.until("its end in the record", func() string {
		return cmp.Diff([]Holding(nil), w.d.Current(w.ns), cmpopts.EquateEmpty())
	})
	w.vault.Set(keyVault, vault.Secret, "db-password", "two") // its status stays and is left alone
	w.pod("web-1", mountOf("web", nil))
	w.ready("web-1")
	w.turn(1, func() { w.d.Poll() })
	if got := w.statusOf("once", "web").Generation; got != 1 {
		t.Errorf("generation %d", got)
	}
}

func TestAPodThatNeverBecomesReady(t *testing.T) {
	w := newWorld(t, nil)
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	w.class("web", "", "db-password")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-1", Annotations: map[string]string{NeverReady: "true"}}, Spec: mountOf("web", nil)}
	if _, err := w.kube.CoreV1().Pods(w.ns).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until("it runs", func() string {
		if phase := w.getPod("web-1").Status.Phase; phase != corev1.PodRunning {
			return string(phase)
		}
		return ""
	})
	for _, c := range w.getPod("web-1").Status.Conditions {
		if c.Type == corev1.PodReady && (c.Status != corev1.ConditionFalse || c.Message != "containers with unready status: [app]") {
			t.Errorf("condition %v", c)
		}
	}
}

func TestTheDriverIsDown(t *testing.T) {
	w := newWorld(t, nil)
	w.vault.Set(keyVault, vault.Secret, "db-password", "one")
	w.class("web", "", "db-password")
	if err := w.d.StopPlugin(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.pod("web-1", mountOf("web", nil))
	w.event("web-1", "FailedMount", `MountVolume.SetUp failed for volume "vault" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: `+
		`driver name secrets-store.csi.k8s.io not found in the list of registered CSI drivers`)
	if err := w.d.StartPlugin(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.ready("web-1")
}

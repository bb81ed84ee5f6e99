package soak

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"keyroll.dev/e2e/install"
)

// fault is something that is done to the webhook while pods are created.
type fault struct {
	name string
	do   func(context.Context, *scene) error // returns when it is over
	// allowed is how long after the fault admissions may fail.
	allowed time.Duration
	away    bool // the API server itself is not there for a while
}

const (
	afterKill  = 2 * time.Second
	afterBlank = 5 * time.Second
)

// Lives of seconds: each is renewed when two thirds are over.
var shortLives = []string{"--ca-duration=9s", "--leaf-duration=5s"}

// faults, in the order in which they are played.
var faults = []fault{
	{name: "the CA is rotated", do: rotateCA},
	{name: "the serving certificates expire", do: expire},
	{name: "both replicas are replaced", do: rollingUpdate},
	{name: "a replica is killed", do: kill, allowed: afterKill},
	{name: "the CA's Secret is deleted", do: deleteSecret},
	{name: "the caBundle is blanked", do: blank, allowed: afterBlank},
	{name: "the API server restarts", do: restart, away: true},
	{name: "clocks are 5 minutes off", do: otherClocks},
}

// scene is what faults are played in.
type scene struct {
	replicas replicas
	caller   *caller
	moment   time.Time // when what has to be healed was done
}

// atOnce says that the damage is being done now.
func (s *scene) atOnce() { s.moment = time.Now() }

// period is a time: the long one in make soak.
func period(ofLong, ofShort time.Duration) time.Duration {
	if long {
		return ofLong
	}
	return ofShort
}

func number(ofLong, ofShort int) int {
	if long {
		return ofLong
	}
	return ofShort
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// rotateCA only waits: the replicas began with short lives.
func rotateCA(ctx context.Context, s *scene) error { return s.awaitCAs(ctx, number(5, 1)) }

// awaitCAs waits until n more CAs have signed what is served.
func (s *scene) awaitCAs(ctx context.Context, n int) error {
	want := max(s.caller.signers(), 1) + n // the load may just have begun
	return until(ctx, "served certificates of other CAs", func() string {
		if got := s.caller.signers(); got < want {
			return fmt.Sprintf("%d of %d CAs", got, want)
		}
		return ""
	})
}

// expire has certificates that are valid for seconds, so that those which are
// served first have expired when it is over. They are renewed four seconds
// before; in the short form, which runs beside other tests, seven.
func expire(ctx context.Context, s *scene) error {
	life, tolerance := period(6*time.Second, 9*time.Second), period(2*time.Second, 4*time.Second)
	short := clocked(install.Clock{Tolerance: tolerance}, "--leaf-duration="+life.String())
	if err := s.replicas.roll(ctx, short, short); err != nil {
		return err
	}
	replaced := func(leaf *x509.Certificate) bool {
		return leaf.NotAfter.Sub(leaf.NotBefore) < time.Minute && time.Now().After(leaf.NotAfter)
	}
	want := number(6, 2)
	return until(ctx, "certificates that were served have expired", func() string {
		if got := s.caller.served(replaced); got < want {
			return fmt.Sprintf("%d of %d certificates", got, want)
		}
		return ""
	})
}

func rollingUpdate(ctx context.Context, s *scene) error {
	if err := s.replicas.roll(ctx, shipped(), shipped()); err != nil {
		return err
	}
	// The API server closes the last of its connections to them after a minute and a half.
	if long {
		return s.replicas.ended(ctx)
	}
	return sleep(ctx, 5*time.Second)
}

func kill(ctx context.Context, s *scene) error {
	victim := s.replicas.running[0]
	s.atOnce()
	victim.Kill()
	if err := sleep(ctx, period(6*time.Second, 3*time.Second)); err != nil {
		return err
	}
	// What its Deployment does, in more time.
	another, err := keyroll.StartWebhook(ctx)
	if err != nil {
		return err
	}
	s.replicas.running[0] = another
	return another.WaitReady(ctx)
}

func deleteSecret(ctx context.Context, s *scene) error {
	s.atOnce()
	if err := s.renewCA(ctx, 1); err != nil {
		return err
	}
	return sleep(ctx, period(5*time.Second, time.Second))
}

// renewCA takes the CA away, and waits until n others have signed what is served.
func (s *scene) renewCA(ctx context.Context, n int) error {
	err := shared.Client().CoreV1().Secrets(keyroll.Namespace()).Delete(ctx, "keyroll-webhook-ca", metav1.DeleteOptions{})
	if err != nil {
		return err
	}
	return s.awaitCAs(ctx, n)
}

func blank(ctx context.Context, s *scene) error {
	s.atOnce()
	patch := `[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}, {"op": "remove", "path": "/webhooks/1/clientConfig/caBundle"}]`
	_, err := shared.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(
		ctx, configurationName, types.JSONPatchType, []byte(patch), metav1.PatchOptions{FieldManager: "another-writer"})
	if err != nil {
		return err
	}
	return sleep(ctx, period(8*time.Second, 3*time.Second))
}

func restart(ctx context.Context, s *scene) error {
	s.atOnce()
	if err := shared.RestartAPIServer(ctx); err != nil {
		return err
	}
	if err := s.caller.watches(ctx); err != nil {
		return err
	}
	// Those that were replaced have nobody left to wait for.
	if err := s.replicas.ended(ctx); err != nil {
		return err
	}
	return sleep(ctx, period(8*time.Second, 3*time.Second))
}

// otherClocks has one replica on a clock that is ahead and one on a clock that
// is behind, so that 10 minutes are between them, and each issue what is served.
func otherClocks(ctx context.Context, s *scene) error {
	const off = 5 * time.Minute
	// The present CA may be by a replica whose certificates nobody behind would take.
	if err := s.renewCA(ctx, 1); err != nil {
		return err
	}
	ahead, behind := clocked(install.Clock{Offset: off}, shortLives...), clocked(install.Clock{Offset: -off}, shortLives...)
	if err := s.replicas.roll(ctx, ahead, behind); err != nil {
		return err
	}
	// The next CA is theirs, and does not live for a year: those before them are to be gone.
	if long {
		if err := s.replicas.ended(ctx); err != nil {
			return err
		}
	}
	if err := s.renewCA(ctx, number(3, 1)); err != nil {
		return err
	}
	issuedBy := func(offset time.Duration) func(*x509.Certificate) bool {
		return func(leaf *x509.Certificate) bool {
			issued := leaf.NotBefore.Add(time.Hour).Add(-offset)
			return issued.After(s.moment) && issued.Before(time.Now().Add(time.Minute))
		}
	}
	return until(ctx, "both have served what they issued", func() string {
		ahead, behind := s.caller.served(issuedBy(off)), s.caller.served(issuedBy(-off))
		if ahead == 0 || behind == 0 {
			return fmt.Sprintf("%d of the clock that is ahead, %d of the one behind", ahead, behind)
		}
		return ""
	})
}

// TestAdmissionSurvives is invariant 8.
func TestAdmissionSurvives(t *testing.T) {
	keyroll.ShowLogs(t)
	namespace(t, "survives")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s := &scene{caller: newCaller(t, "survives")}
	t.Cleanup(s.replicas.kill)
	if err := s.replicas.roll(ctx, shipped(shortLives...), shipped(shortLives...)); err != nil {
		t.Fatal(err)
	}
	var pods, fresh record
	create := podCreator(t, "survives")
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		done := make(chan struct{})
		go func() { defer close(done); load(ctx, number(20, 10), &pods, create) }()
		load(ctx, number(10, 5), &fresh, s.caller.call)
		<-done
	}()
	begun := time.Now()
	play := append(slices.Clone(faults), fault{name: "nothing is done", do: func(ctx context.Context, _ *scene) error {
		return sleep(ctx, period(max(3*time.Minute-time.Since(begun), 5*time.Second), time.Second))
	}})
	var phases []phase
	from := begun
	for _, f := range play {
		s.moment = from
		err := f.do(ctx, s)
		if err == nil {
			err = admittedSince(ctx, time.Now(), &pods, &fresh)
		}
		to := border(&pods, &fresh) // what a fault does to an attempt is not the fault before's
		phases = append(phases, phase{fault: f, from: from, moment: s.moment, to: to})
		from = to
		if err != nil {
			t.Errorf("%s: %v", f.name, err) // what comes after it is shown all the same
		}
	}
	stop()
	<-ended
	for i := range phases {
		phases[i].collect(&pods, &fresh)
		phases[i].check(t)
	}
	t.Logf("%s\n%s", time.Since(begun).Round(time.Second), table(phases))
}

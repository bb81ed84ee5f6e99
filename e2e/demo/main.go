// Command demo plays Keyroll's main job on a real control plane on this
// machine, as a story that can be read: an annotated Deployment, injected pods,
// a secret that rotates, one rollout. It exits non-zero if a step did not
// happen. With -keep the cluster stays until Ctrl-C, to play with.
//
//	main ─► tell (story.go) ─► stage: prints and runs each command, checks what came of it
//	                             └─► world: cluster, vault, driver, Keyroll
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"keyroll.dev/e2e/cluster"
	"keyroll.dev/e2e/install"
	"keyroll.dev/e2e/world"
)

func main() {
	keep := flag.Bool("keep", false, "leave everything running after the story, until Ctrl-C")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdin, os.Stdout, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

// run boots the world, tells the story and stops everything again.
func run(ctx context.Context, in io.Reader, out io.Writer, keep bool) (err error) {
	s := newStage(out)
	s.say("Boot etcd, API server, controllers, scheduler and three nodes (the first time this builds them, for minutes)")
	c, err := cluster.Start(ctx, cluster.Options{Nodes: len(nodes), Out: out})
	if err != nil {
		return err
	}
	defer c.Stop()
	alive, release := c.While(ctx)
	defer release()
	s.say("Build Keyroll, apply manifests/install.yaml, run webhook and watcher under its ServiceAccounts")
	s.world, err = world.New(alive, c, nodes, world.Options{Install: install.Options{WatcherArgs: hasty}})
	if err != nil {
		return err
	}
	if err := tell(alive, s); err != nil {
		return s.explain(err)
	}
	if !keep {
		return nil
	}
	if err := stay(alive, s, in); err != nil || ctx.Err() != nil {
		return err
	}
	return context.Cause(alive)
}

var nodes = []string{"node-1", "node-2", "node-3"}

// hasty shortens what the story would have to wait for, but not the lease: no
// watcher is killed in it, and a busy machine does not lose one of usual length.
var hasty = []string{"--settle=500ms", "--rotation-interval=2s"}

// stay keeps the world until the context ends, and rotates on request.
func stay(ctx context.Context, s *stage, in io.Reader) error {
	door, err := s.open(ctx)
	if err != nil {
		return err
	}
	s.say("Left running. In another terminal:")
	s.printf("export KUBECONFIG=%s PATH=%s:$PATH\n", s.world.Kubeconfig(), filepath.Dir(s.world.Bin("kubectl")))
	s.printf(`
Four things to try:
  1. rotate again:         press Enter here, then kubectl -n %[1]s rollout history deployment web
  2. break an annotation:  kubectl -n %[1]s annotate --overwrite deployment web keyroll.dev/objects=db_password
  3. restart the watcher:  kill %[2]d (it is started again); nothing rolls
  4. tell the stories of rotation to this cluster as to any other (docs/testing.md): make e2e-cluster, with
`, namespace, s.world.Watcher.Pid())
	for _, variable := range door.variables() {
		name, value, _ := strings.Cut(variable, "=")
		s.printf("       export %s='%s'\n", name, value)
	}
	s.printf("\nCtrl-C ends everything.\n")
	return s.attend(ctx, door, lines(ctx, in))
}

// attend does what it is asked for, and starts a watcher again that has ended
// without being asked to.
func (s *stage) attend(ctx context.Context, door *outside, enter <-chan struct{}) error {
	ended := s.world.Watcher.Done()
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-door.watcher:
			r.done <- s.serve(ctx, r)
			ended = s.world.Watcher.Done()
			if !r.run {
				ended = nil
			}
		case <-ended:
			if ctx.Err() != nil {
				return nil
			}
			if err := s.world.StartWatcher(ctx); err != nil {
				return errors.Join(errors.New("the watcher does not start again"), err)
			}
			ended = s.world.Watcher.Done()
			s.say("The watcher runs again, as process %d", s.world.Watcher.Pid())
		case _, more := <-enter:
			if !more {
				enter = nil
				continue
			}
			s.say("db-password rotated: version %s", short(s.rotate("db-password")))
		}
	}
}

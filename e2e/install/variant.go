package install

import (
	"context"
	"errors"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ownerKinds is the watcher's flag for kinds of workloads besides Kubernetes' own.
const ownerKinds = "--owner-kinds="

// OwnerKinds takes over from another rendering of the chart which kinds of
// workloads the watcher looks after besides Kubernetes' own: the roles there
// replace ours, and watchers that are started from now on are given its flag.
// What it returns undoes it.
func (i *Installation) OwnerKinds(ctx context.Context, manifests []byte) (undo func(context.Context) error, err error) {
	other, err := render(manifests, i.WebhookAddress())
	if err != nil {
		return nil, err
	}
	args := other.deployments[watcherName].Spec.Template.Spec.Containers[0].Args
	at := slices.IndexFunc(args, func(arg string) bool { return strings.HasPrefix(arg, ownerKinds) })
	if at < 0 {
		return nil, errors.New("the manifests name no kinds of owners")
	}
	i.setOwnerKinds(args[at])
	undo = func(ctx context.Context) error {
		i.setOwnerKinds("")
		return i.applyRoles(ctx, i.rendered)
	}
	return undo, i.applyRoles(ctx, other)
}

func (i *Installation) applyRoles(ctx context.Context, r *rendered) error {
	roles := slices.DeleteFunc(slices.Clone(r.objects), func(o *unstructured.Unstructured) bool { return o.GetKind() != "ClusterRole" })
	_, err := i.kubectl(ctx, roles, "apply", "--server-side", "-f", "-")
	return err
}

func (i *Installation) setOwnerKinds(arg string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.options.WatcherArgs = slices.DeleteFunc(slices.Clone(i.options.WatcherArgs), func(have string) bool {
		return strings.HasPrefix(have, ownerKinds)
	})
	if arg != "" {
		i.options.WatcherArgs = append(i.options.WatcherArgs, arg)
	}
}

// watcherArgs are those of the next watcher.
func (i *Installation) watcherArgs() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.options.WatcherArgs
}

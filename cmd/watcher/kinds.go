package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"keyroll.dev/internal/kube"
	"keyroll.dev/watcher"
)

// kinds is the value of --owner-kinds.
type kinds []schema.GroupVersionKind

// String is the flag's value as it was written.
func (k *kinds) String() string {
	var all []string
	for _, kind := range *k {
		all = append(all, kind.Kind+"."+kind.Version+"."+kind.Group)
	}
	return strings.Join(all, ",")
}

// Set reads the flag's value.
func (k *kinds) Set(value string) error {
	for _, text := range strings.Split(value, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		kind, _ := schema.ParseKindArg(text)
		if kind == nil || kind.Group == "" || kind.Version == "" || kind.Kind == "" {
			return fmt.Errorf("%q is not Kind.version.group, such as Rollout.v1alpha1.argoproj.io", text)
		}
		*k = append(*k, *kind)
	}
	return nil
}

// find asks the API server under what resource each kind is served. One that is
// not served is left out until the next start: it must not keep the others waiting.
func (k kinds) find(ctx context.Context, client *kube.Client, log *slog.Logger) ([]watcher.OwnerKind, error) {
	var found []watcher.OwnerKind
	for _, kind := range k {
		list, err := client.Served(ctx, kind.GroupVersion())
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("look for --owner-kinds %s: %w", kind.Kind, err)
		}
		before := len(found)
		if list != nil {
			for _, r := range list.APIResources {
				if r.Kind == kind.Kind && !strings.Contains(r.Name, "/") && r.Namespaced {
					found = append(found, watcher.OwnerKind{Kind: kind, Resource: kind.GroupVersion().WithResource(r.Name)})
				}
			}
		}
		if len(found) == before {
			log.Warn("A kind of --owner-kinds is not served, its objects are not rolled until the next start", "kind", kind.String())
		}
	}
	return found, nil
}

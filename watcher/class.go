package watcher

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"keyroll.dev/internal/secretsstore"
	"keyroll.dev/watcher/reloader"
)

// class is the view of a SecretProviderClass.
type class struct {
	metav1.ObjectMeta // with labels

	spec secretsstore.SecretProviderClassSpec
	// synced maps each Secret that the class fills to the ids of the objects
	// whose content it holds; nil ids mean that they could not be told.
	synced map[string][]string
	// What Reloader's annotations say of the class, and what it puts on its Secrets, by name.
	marks       reloader.Marks
	secretMarks map[string]reloader.Marks
}

func slimClass(c *secretsstore.SecretProviderClass) *class {
	slim := &class{ObjectMeta: identity(&c.ObjectMeta), spec: c.Spec, synced: syncedBy(&c.Spec), marks: reloader.MarksOf(c.Annotations)}
	for _, secret := range c.Spec.SecretObjects {
		if secret == nil {
			continue
		}
		if marks := reloader.MarksOf(secret.Annotations); marks != (reloader.Marks{}) {
			if slim.secretMarks == nil {
				slim.secretMarks = map[string]reloader.Marks{}
			}
			slim.secretMarks[secret.SecretName] = marks.Or(slim.secretMarks[secret.SecretName])
		}
	}
	slim.Labels = c.Labels
	return slim
}

// vault answers the Key Vault that the class reads, "" where it is not one.
func (c *class) vault() string { return c.spec.Parameters["keyvaultName"] }

// syncedBy answers which objects end up in which Secret. A nil map: none.
func syncedBy(spec *secretsstore.SecretProviderClassSpec) map[string][]string {
	if len(spec.SecretObjects) == 0 {
		return nil
	}
	files := filesOf(spec)
	synced := map[string][]string{}
	for _, secret := range spec.SecretObjects {
		if secret == nil {
			continue
		}
		ids, known := idsOf(secret, files)
		if before, seen := synced[secret.SecretName]; seen && (before == nil || !known) {
			ids, known = nil, false
		} else {
			ids = append(before, ids...)
		}
		if !known {
			ids = nil
		}
		slices.Sort(ids)
		synced[secret.SecretName] = slices.Compact(ids)
	}
	return synced
}

// idsOf answers the ids behind one Secret's data; false when a file in it is
// not one of those that the class is known to mount.
func idsOf(secret *secretsstore.SecretObject, files map[string]string) ([]string, bool) {
	ids := []string{}
	for _, data := range secret.Data {
		if data == nil || data.ObjectName == "" {
			continue
		}
		id, known := files[data.ObjectName]
		if !known {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

// azureObject is what is read of one object in an Azure class's parameters
// (provider v1.8.2 pkg/provider/types).
type azureObject struct {
	Name    string `json:"objectName"`
	Alias   string `json:"objectAlias"`
	Type    string `json:"objectType"`
	History int    `json:"objectVersionHistory"`
}

// filesOf maps the files of an Azure class to the ids that the provider reports
// for them. Whatever cannot be read is left out, and so counts as unknown.
func filesOf(spec *secretsstore.SecretProviderClassSpec) map[string]string {
	files := map[string]string{}
	if spec.Provider != secretsstore.ProviderAzure {
		return files
	}
	var list struct {
		Array []string `json:"array"`
	}
	if err := yaml.Unmarshal([]byte(spec.Parameters["objects"]), &list); err != nil {
		return files
	}
	for _, text := range list.Array {
		var object azureObject
		// With a version history one object is several files and ids.
		if err := yaml.Unmarshal([]byte(text), &object); err != nil || object.History > 1 {
			continue
		}
		file := object.Alias
		if file == "" {
			file = object.Name
		}
		files[file] = object.Type + "/" + object.Name
	}
	return files
}

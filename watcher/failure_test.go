package watcher

import (
	"strings"
	"testing"
	"unicode/utf8"

	"keyroll.dev/internal/secretsstore"
)

func TestFailureText(t *testing.T) {
	tests := map[string]struct{ message, want string }{
		"an object that the vault does not have": {
			`MountVolume.SetUp failed for volume "keyroll" : rpc error: code = Unknown desc = failed to mount secrets store objects for pod shop/web, ` +
				`err: rpc error: code = Unknown desc = failed to mount objects, error: failed to get objectType:secret, objectName:db-pasword, objectVersion:: ` +
				"GET https://shop-kv.vault.azure.net/secrets/db-pasword/\n----\nRESPONSE 404: 404 Not Found\nERROR CODE: SecretNotFound\n----\n{\"error\":{}}",
			"secret/db-pasword could not be read: SecretNotFound",
		},
		"an identity that Azure refuses, whose code is cut off": {
			`MountVolume.SetUp failed for volume "keyroll" : rpc error: code = Unknown desc = failed to mount secrets store objects for pod shop/web, err: rpc error: ` +
				`code = Unknown desc = failed to mount objects, error: failed to get objectType:secret, objectName:db-password, objectVersion:: WorkloadIdentityCredential authentication failed`,
			"secret/db-password could not be read",
		},
		"a class that was missing, of which is known whether it still is": {
			`MountVolume.SetUp failed for volume "keyroll" : rpc error: code = Unknown desc = failed to get secretproviderclass shop/keyroll-1, error: SecretProviderClass.secrets-store.csi.x-k8s.io "keyroll-1" not found`,
			"",
		},
		"a driver that is missing": {
			`MountVolume.SetUp failed for volume "keyroll" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name secrets-store.csi.k8s.io not found in the list of registered CSI drivers`,
			`MountVolume.SetUp failed for volume "keyroll" : kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name secrets-store.csi.k8s.io not found in the list of registered CSI drivers`,
		},
		"another volume": {
			`MountVolume.SetUp failed for volume "config" : configmap "web" not found`,
			"",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := failureText(test.message); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestAnUnknownFailureIsBounded(t *testing.T) {
	got := failureText(secretsstore.DriverName + strings.Repeat("ä", 500))
	if len(got) > maxFailure || !utf8.ValidString(got) {
		t.Errorf("%d bytes, valid: %t", len(got), utf8.ValidString(got))
	}
}

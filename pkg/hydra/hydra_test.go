package hydra_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/git-models/git-models/pkg/hydra"
	"github.com/git-models/git-models/pkg/pipeline/document"
)

func texts(overrides []hydra.Override) []string {
	out := []string{}
	for _, o := range overrides {
		out = append(out, o.Text)
	}
	return out
}

// The file holds documents with the overrides that Hydra 1.3.2 composes to what
// OmegaConf loads, or the reason why there are none.
func TestVectors(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		YAML      string   `json:"yaml"`
		Overrides []string `json:"overrides"`
		Error     string   `json:"error"`
	}
	if err := json.Unmarshal(b, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 40 {
		t.Fatalf("%d vectors, the file is cut", len(vectors))
	}
	for _, v := range vectors {
		got, err := hydra.Overrides([]byte(v.YAML))
		if v.Error != "" {
			if err == nil || !strings.Contains(err.Error(), v.Error) {
				t.Errorf("%s: error %v, want one with %q", v.YAML, err, v.Error)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", v.YAML, err)
			continue
		}
		if diff := cmp.Diff(v.Overrides, texts(got)); diff != "" {
			t.Errorf("%s: -want +got\n%s", v.YAML, diff)
		}
	}
}

func faultsOf(t *testing.T, err error) []string {
	t.Helper()
	var faults *document.Faults
	if !errors.As(err, &faults) {
		t.Fatalf("error %v, want faults", err)
	}
	return strings.Split(faults.Error(), "\n")
}

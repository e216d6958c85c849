package gitmodels

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// LeaseGPUs picks n free devices: of all, in the order configured, those that
// held does not list. held is by the short name of the run that has them; what
// it lists beyond all, such as a device that was taken out of the configuration,
// counts for its holder only. Too few free ones are an Error of Kind Waiting that
// says who has the rest ("gpu, 2 asked, 1 free (9be01f2 holds 3)"); more than
// there are at all is one of Kind Invalid, as waiting would not help.
func LeaseGPUs(all []string, held map[string][]string, n int) ([]string, error) {
	if n <= 0 {
		return nil, nil
	}
	if n > len(all) {
		return nil, &Error{Kind: Invalid, Op: "leasing GPUs",
			Message: fmt.Sprintf("job.gpus asks for %d, this server has %d (models.limit.gpus)", n, len(all))}
	}
	taken := map[string]bool{}
	var holders []string
	for _, run := range slices.Sorted(maps.Keys(held)) {
		for _, device := range held[run] {
			taken[device] = true
		}
		if k := len(held[run]); k > 0 {
			holders = append(holders, fmt.Sprintf("%s holds %d", Printable(run, 40), k))
		}
	}
	var free []string
	for _, device := range all {
		if !taken[device] {
			free = append(free, device)
		}
	}
	if len(free) < n {
		return nil, &Error{Kind: Waiting, Op: "leasing GPUs",
			Message: fmt.Sprintf("gpu, %d asked, %d free (%s)", n, len(free), strings.Join(holders, ", "))}
	}
	return free[:n:n], nil
}

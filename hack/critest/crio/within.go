package container

import (
	"strings"

	"github.com/opencontainers/runtime-tools/generate"
	"github.com/syndtr/gocapability/capability"
)

// within takes out of each set of the container what this process does not hold itself and nobody can hand on. CRI-O
// asks for every capability of the kernel when a container is privileged or wants ALL; containerd asks for those held.
func within(g *generate.Generator) {
	own, err := capability.NewPid2(0)
	if err != nil || own.Load() != nil {
		return
	}
	held := map[string]bool{}
	for _, c := range capability.List() {
		held["CAP_"+strings.ToUpper(c.String())] = own.Get(capability.BOUNDING, c)
	}
	sets := g.Config.Process.Capabilities
	for _, set := range []*[]string{&sets.Bounding, &sets.Effective, &sets.Permitted, &sets.Inheritable, &sets.Ambient} {
		kept := []string{}
		for _, name := range *set {
			if held[name] {
				kept = append(kept, name)
			}
		}
		*set = kept
	}
}

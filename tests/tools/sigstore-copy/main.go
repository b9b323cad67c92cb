// SPDX-License-Identifier: Apache-2.0
// Copies one image as skopeo does, by a signature policy, and signs it with a sigstore key: Debian's
// skopeo has sigstore switched off, and this is the same library, containers/image.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/containers/image/v5/copy"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/transports/alltransports"
	"github.com/containers/image/v5/types"
)

func run() error {
	policyFile := flag.String("policy", "", "policy.json; none: anything is accepted")
	registries := flag.String("registries.d", "", "folder")
	key := flag.String("sign-by-sigstore-private-key", "", "cosign's private key")
	passphrase := flag.String("sign-passphrase-file", "", "its passphrase")
	identity := flag.String("sign-identity", "", "the name that is signed")
	remove := flag.Bool("remove-signatures", false, "do not copy signatures")
	flag.Parse()
	if flag.NArg() != 2 {
		return fmt.Errorf("usage: copy [FLAG...] SOURCE DESTINATION")
	}
	policy := &signature.Policy{Default: signature.PolicyRequirements{signature.NewPRInsecureAcceptAnything()}}
	if *policyFile != "" {
		read, err := signature.NewPolicyFromFile(*policyFile)
		if err != nil {
			return err
		}
		policy = read
	}
	decide, err := signature.NewPolicyContext(policy)
	if err != nil {
		return err
	}
	source, err := alltransports.ParseImageName(flag.Arg(0))
	if err != nil {
		return err
	}
	destination, err := alltransports.ParseImageName(flag.Arg(1))
	if err != nil {
		return err
	}
	system := &types.SystemContext{RegistriesDirPath: *registries,
		DockerInsecureSkipTLSVerify: types.OptionalBoolTrue}
	options := &copy.Options{SourceCtx: system, DestinationCtx: system, PreserveDigests: true,
		RemoveSignatures: *remove, SignBySigstorePrivateKeyFile: *key}
	if *passphrase != "" {
		secret, err := os.ReadFile(*passphrase)
		if err != nil {
			return err
		}
		options.SignSigstorePrivateKeyPassphrase = []byte(strings.TrimSpace(string(secret)))
	}
	if *identity != "" {
		named, err := reference.ParseNamed(*identity)
		if err != nil {
			return err
		}
		options.SignIdentity = named
	}
	_, err = copy.Image(context.Background(), decide, destination, source, options)
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

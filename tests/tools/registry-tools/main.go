// SPDX-License-Identifier: Apache-2.0
// A registry with the referrers API of the distribution specification 1.1 (olareg, as `olareg serve` is one), with
// options for pages and logins, and the library of oras as a client that makes and lists what refers to an image.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/olareg/olareg"
	"github.com/olareg/olareg/config"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

const usage = `usage: registry-tools serve [FLAG...] FOLDER    (writes HOST:PORT to FOLDER/host when it listens)
       registry-tools attach [-u USER:PASSWORD] SUBJECT TYPE FILE [KEY=VALUE...]
       registry-tools discover [-u USER:PASSWORD] SUBJECT [TYPE]`

// One line a request: "METHOD path?query -> status", and what the answer says of a subject.
type logged struct {
	next http.Handler
	lock sync.Mutex
	file *os.File
}

type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (l *logged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := &answer{ResponseWriter: w, status: http.StatusOK}
	asked := r.Method + " " + r.URL.RequestURI()
	l.next.ServeHTTP(a, r)
	l.lock.Lock()
	defer l.lock.Unlock()
	fmt.Fprintf(l.file, "%s -> %d %s\n", asked, a.status, w.Header().Get("OCI-Subject"))
}

// Users and what they may, in olareg's form: "app" with the password "secret" may all, others nothing.
func logins(folder string) (string, error) {
	hash, err := config.PassHashBcrypt("secret")
	if err != nil {
		return "", err
	}
	name := filepath.Join(folder, "users.yml")
	text := fmt.Sprintf("users: {app: {cred: %q}}\nacls: [{repo: \"*\", members: [app], access: [\"*\"]}, "+
		"{repo: \"\", members: [app], access: [\"*\"]}]\n", hash)
	return name, os.WriteFile(name, []byte(text), 0o600)
}

func serve(arguments []string) error {
	flags := flag.NewFlagSet("serve", flag.ExitOnError)
	page := flags.Int64("page", 0, "bytes of a page of referrers; 0: one page")
	login := flags.String("login", "", "basic or token: user app, password secret")
	api := flags.Bool("referrers", true, "have the referrers API")
	rate := flags.Int("rate", 0, "requests a second; more are answered 429")
	_ = flags.Parse(arguments)
	folder := flags.Arg(0)
	if err := os.MkdirAll(filepath.Join(folder, "store"), 0o700); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	host := listener.Addr().String()
	yes := true
	conf := config.Config{
		Storage: config.ConfigStorage{StoreType: config.StoreDir, RootDir: filepath.Join(folder, "store")},
		API: config.ConfigAPI{DeleteEnabled: &yes, Blob: config.ConfigAPIBlob{DeleteEnabled: &yes},
			Referrer: config.ConfigAPIReferrer{Enabled: api, Limit: *page}, RateLimit: *rate},
	}
	if *login != "" {
		users, err := logins(folder)
		if err != nil {
			return err
		}
		if *login == "token" {
			conf.Auth = config.NewAuthTokenOpaque(users, config.WithAuthRealm("http://"+host+"/token"))
		} else {
			conf.Auth = config.NewAuthBasicFile(users)
		}
	}
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		return err
	}
	registry := olareg.New(conf)
	server := &http.Server{Handler: &logged{next: registry, file: log}}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ended
		_ = server.Close()
	}()
	if err := os.WriteFile(filepath.Join(folder, "host.new"), []byte(host+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(folder, "host.new"), filepath.Join(folder, "host")); err != nil {
		return err
	}
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return err
	}
	return registry.Close()
}

// The repository and the descriptor of what a name stands for there.
func resolve(ctx context.Context, name, user string) (*remote.Repository, ocispec.Descriptor, error) {
	repository, err := remote.NewRepository(name)
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	repository.PlainHTTP = true
	if who, secret, ok := strings.Cut(user, ":"); ok {
		repository.Client = &auth.Client{Credential: auth.StaticCredential(repository.Reference.Host(),
			auth.Credential{Username: who, Password: secret})}
	}
	found, err := repository.Resolve(ctx, repository.Reference.Reference)
	return repository, found, err
}

func attach(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("attach", flag.ExitOnError)
	user := flags.String("u", "", "USER:PASSWORD")
	_ = flags.Parse(arguments)
	if flags.NArg() < 3 {
		return fmt.Errorf("%s", usage)
	}
	repository, subject, err := resolve(ctx, flags.Arg(0), *user)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(flags.Arg(2))
	if err != nil {
		return err
	}
	blob, err := oras.PushBytes(ctx, repository, "application/octet-stream", content)
	if err != nil {
		return err
	}
	notes := map[string]string{}
	for _, note := range flags.Args()[3:] {
		key, value, _ := strings.Cut(note, "=")
		notes[key] = value
	}
	made, err := oras.PackManifest(ctx, repository, oras.PackManifestVersion1_1, flags.Arg(1),
		oras.PackManifestOptions{Subject: &subject, Layers: []ocispec.Descriptor{blob}, ManifestAnnotations: notes})
	if err == nil {
		fmt.Println(made.Digest)
	}
	return err
}

func discover(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("discover", flag.ExitOnError)
	user := flags.String("u", "", "USER:PASSWORD")
	_ = flags.Parse(arguments)
	if flags.NArg() < 1 {
		return fmt.Errorf("%s", usage)
	}
	repository, subject, err := resolve(ctx, flags.Arg(0), *user)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	return repository.Referrers(ctx, subject, flags.Arg(1), func(page []ocispec.Descriptor) error {
		for _, one := range page {
			if err := out.Encode(one); err != nil {
				return err
			}
		}
		return nil
	})
}

func main() {
	err := fmt.Errorf("%s", usage)
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "serve":
			err = serve(os.Args[2:])
		case "attach":
			err = attach(context.Background(), os.Args[2:])
		case "discover":
			err = discover(context.Background(), os.Args[2:])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "registry-tools:", err)
		os.Exit(1)
	}
}

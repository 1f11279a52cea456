package mongo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nekoctl/neko/api/store"
	"github.com/nekoctl/neko/api/store/mongo/mongotest"
	"github.com/nekoctl/neko/scripts/freeport"
)

func TestURL(t *testing.T) {
	for _, c := range []struct {
		url     string
		workers int
		where   string
		want    string // of client: pool, server selection, write and read concern, read preference, name
	}{
		{"mongodb://h", 0, "mongodb://h/neko", "100 5s majority - - neko-api"},
		{"mongodb://h/", 4, "mongodb://h/neko", "25 5s majority - - neko-api"},
		{"mongodb://u:p%40ss@h:1,i:2/prod?replicaSet=rs0", 64, "mongodb://h:1,i:2/prod", "4 5s majority majority - neko-api"},
		{"mongodb://h/x?replicaSet=rs0&w=1&readConcernLevel=local&readPreference=nearest&maxPoolSize=7&appName=a&serverSelectionTimeoutMS=99", 1,
			"mongodb://h/x", "7 99ms 1 local nearest a"},
		{"mongodb://h/a%2Db", 1, "mongodb://h/a-b", "100 5s majority - - neko-api"},
	} {
		got, err := parse(c.url, c.workers)
		if err != nil {
			t.Errorf("%s: %v", c.url, err)
			continue
		}
		o := got.client
		words := []string{fmt.Sprint(*o.MaxPoolSize), o.ServerSelectionTimeout.String(), "-", "-", "-", *o.AppName}
		if o.WriteConcern != nil {
			words[2] = fmt.Sprint(o.WriteConcern.W)
		}
		if o.ReadConcern != nil {
			words[3] = o.ReadConcern.Level
		}
		if o.ReadPreference != nil {
			words[4] = o.ReadPreference.Mode().String()
		}
		if have := strings.Join(words, " "); have != c.want || got.where != c.where {
			t.Errorf("%s:\n got %s, %s\nwant %s, %s", c.url, got.where, have, c.where, c.want)
		}
		if retry := o.RetryWrites; retry != nil && !*retry {
			t.Errorf("%s: does not retry writes", c.url)
		}
	}
	for workers, want := range map[int]uint64{-1: 100, 0: 100, 1: 100, 2: 50, 3: 33, 8: 12, 25: 4, 1000: 4} {
		if got := PoolSize(workers); got != want {
			t.Errorf("%d workers: %d connections, want %d", workers, got, want)
		}
	}
	for name, want := range map[string]bool{"mongodb://h": true, "mongodb+srv://h": true, "/tmp/x.db": false, "redis://h": false, "mongodb:/h": false, "": false} {
		if Is(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// Whatever goes wrong with a URL, nobody sees who may come in, and how.
func TestSecretsStaySecret(t *testing.T) {
	server := mongotest.URL(t)
	host := strings.TrimPrefix(server[:strings.LastIndex(server, "/")], "mongodb://")
	refused := freeport.Address(t)
	plain := plainTLS(t)
	var opened sync.WaitGroup
	for _, c := range []struct{ name, url, says string }{
		{"unreachable", "mongodb://hugo:secret%2Fpass@" + refused + "/neko?PATIENCE", "refused"},
		{"no such host", "mongodb://hugo:secretpass@no-such-host.invalid/neko?PATIENCE", "no server answers"},
		{"wrong password", "mongodb://hugo:secretpass@" + host + "/neko?PATIENCE", "does not accept the user or the password"},
		{"bad option", "mongodb://hugo:secretpass@h/neko?w=-1", "cannot be read"},
		{"bad option, and a key's password", "mongodb://hugo:secretpass@h/neko?tlsCertificateKeyFilePassword=secretkey&retryWrites=perhaps", "cannot be read"},
		{"no such key file", "mongodb://hugo:secretpass@h/neko?tlsCertificateKeyFilePassword=secretkey&tlsCertificateKeyFile=/nowhere", "/nowhere"},
		{"bad properties", "mongodb://hugo:secretpass@h/neko?authMechanism=MONGODB-AWS&authMechanismProperties=AWS_SESSION_TOKEN:secretkey,NONSENSE", ""},
		{"password not encoded", "mongodb://hugo:secret/pass@h/neko", "percent-encoded"},
		{"password not encoded, @", "mongodb://hugo:secret@pass@h/neko", "percent-encoded"},
		{"password not encoded, :", "mongodb://hugo:secret:pass@h/neko", "percent-encoded"},
		{"password not encoded, %", "mongodb://hugo:secret%zzpass@h/neko", "percent-encoded"},
		{"password not encoded, ?", "mongodb://hugo:secret?pass@h/neko?PATIENCE", ""},
		{"password not encoded, #", "mongodb://hugo:secret#pass@h:nope/neko", ""},
		{"no host", "mongodb://hugo:secretpass@/neko", ""},
		{"bad database", "mongodb://hugo:secretpass@h/ne$ko", "no name of a database"},
		{"bad escape in database", "mongodb://hugo:secretpass@h/%zz", "no name of a database"},
		{"a server without TLS", "mongodb://hugo:secretpass@" + host + "/neko?tls=true&PATIENCE", "TLS does not come about"},
		{"a certificate of nobody", "mongodb://hugo:secretpass@" + plain + "/neko?tls=true&PATIENCE", "TLS does not come about"},
	} {
		for _, open := range []func(url string) error{
			func(url string) error { return second(Open(t.Context(), url, Options{})) },
			func(url string) error { return Migrate(t.Context(), url, Options{}, new(strings.Builder), true) },
		} {
			opened.Go(func() {
				// A busy machine may not find out in so short a time why no server is of use; then there is more.
				for patience := 300 * time.Millisecond; ; patience *= 10 {
					began := time.Now()
					err := open(strings.ReplaceAll(c.url, "PATIENCE", fmt.Sprintf("serverSelectionTimeoutMS=%d&connectTimeoutMS=%[1]d", patience.Milliseconds())))
					var e *store.OpenError
					if !errors.As(err, &e) {
						t.Errorf("%s: %v", c.name, err)
						return
					}
					all := err.Error() + " " + e.Hint()
					for err := err; err != nil; err = errors.Unwrap(err) {
						all += " " + err.Error()
					}
					if strings.Contains(all, "secret") || strings.Contains(all, "hugo") || strings.Contains(strings.ToLower(all), "pass@") {
						t.Errorf("%s: tells a secret: %s", c.name, all)
					}
					if strings.Count(err.Error(), "\n") > 0 || len(err.Error()) > 400 {
						t.Errorf("%s: that is no message for people: %v", c.name, err)
					}
					if took := time.Since(began); took > 10*time.Second+patience {
						t.Errorf("%s: took %v", c.name, took)
					}
					if (strings.Contains(err.Error(), c.says) || strings.Contains(e.Hint(), c.says)) && e.Hint() != "" {
						return
					}
					if patience > 10*time.Second || !strings.Contains(c.url, "PATIENCE") {
						t.Errorf("%s: %v (%s), want %q", c.name, err, e.Hint(), c.says)
						return
					}
				}
			})
		}
	}
	opened.Wait()
}

// Errors of a store that is open tell no secret either.
func TestSecretsOfAnOpenStore(t *testing.T) {
	s := &secrets{}
	s.add("s3cr/et")
	for _, text := range []string{"x s3cr/et y", "x s3cr%2Fet y"} {
		if got := s.hide(text); got != "x *** y" {
			t.Error(got)
		}
	}
	st := &Store{secret: s}
	err := st.translate(t.Context(), errors.New("connection(h) has s3cr/et in it"))
	for e := err; e != nil; e = errors.Unwrap(e) {
		if strings.Contains(e.Error(), "s3cr") {
			t.Error(e)
		}
	}
	if !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
}

// plainTLS answers with a certificate that nobody has signed, if with any.
func plainTLS(t *testing.T) string {
	cert, err := tls.X509KeyPair(selfSigned(t))
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = c.(*tls.Conn).Handshake()
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func selfSigned(t *testing.T) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

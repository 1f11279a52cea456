package nodeipc

import "testing"

func TestAQueryIsReadAsNodeWritesIt(t *testing.T) {
	for line, want := range map[string]string{
		`{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":3000,"addressType":4}`:           "tcp :3000",
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":"::","port":3000,"addressType":6,"flags":0}`:                       "tcp [::]:3000",
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":"::","port":3000,"addressType":6,"flags":1}`:                       "tcp6 [::]:3000",
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":"127.0.0.1","port":0,"addressType":4}`:                             "tcp 127.0.0.1:0",
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":"/run/web.sock","port":-1,"addressType":-1}`:                       "unix /run/web.sock",
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":null,"port":3000,"addressType":"udp4","fd":-1}`:                    "udp 0.0.0.0:3000",
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":"0.0.0.0","port":"3000","addressType":"udp4","fd":-1,"flags":0}`:   "udp 0.0.0.0:3000", // bind('3000')
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":"127.0.0.1","port":70000,"addressType":4}`:                         "",
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":null,"port":null,"addressType":4,"fd":3}`:                          "",
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":"/srv/app/\u0000web","port":-1,"addressType":-1}`:                  "unix @web",
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":"/srv/app\u0000web","port":-1,"addressType":-1}`:                   "",
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":"","port":-1,"addressType":-1}`:                                    "",
		`{"cmd":"NODE_CLUSTER","act":"queryServer","address":"127.0.0.1","port":3000,"addressType":"carrier pigeon","fd":null}`: "",
	} {
		m, err := parse([]byte(line))
		if err != nil || !m.IsCluster() || m.Act != "queryServer" {
			t.Fatalf("%s: %+v, %v", line, m, err)
		}
		network, address, ok := m.Query.Listener()
		if got := network + " " + address; ok != (want != "") || ok && got != want {
			t.Errorf("%s: %q, and not %q", line, got, want)
		}
	}
}

func TestWhatAProgramSaysIsItsOwnEvenIfItLooksLikeNodes(t *testing.T) {
	for _, line := range []string{`"ready"`, `{"cmd":"node"}`, `{"cmd":1,"text":"NODE_"}`, `["NODE_CLUSTER"]`, `null`} {
		if m, err := parse([]byte(line)); err != nil || m.Command != "" || string(m.Text) != line {
			t.Errorf("%s: %+v, %v", line, m, err)
		}
	}
	if _, err := parse([]byte(`{"cmd":`)); err == nil {
		t.Error("half a message was read")
	}
}

package tallygate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Security says how the client is sure of its node, and the node of its client, by names of files. They are read again
// for each connection. The zero value is plain text without proof.
type Security struct {
	CAFile    string // authorities that may vouch for the node, as PEM; connections are by TLS where it is set
	CertFile  string // the client's own certificate, as PEM
	KeyFile   string // its key
	TokenFile string // an access token, which goes with each stream; by plain text to this machine only
}

// SecurityFromEnvironment reads the variables that all clients of Tallygate have.
func SecurityFromEnvironment() Security {
	return Security{
		CAFile:    os.Getenv("TALLYGATE_CA"),
		CertFile:  os.Getenv("TALLYGATE_CERT"),
		KeyFile:   os.Getenv("TALLYGATE_KEY"),
		TokenFile: os.Getenv("TALLYGATE_TOKEN_FILE"),
	}
}

// options are those of a connection to this address.
func (security Security) options(address string) ([]grpc.DialOption, error) {
	transport, err := security.transport()
	if err != nil {
		return nil, err
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(transport)}
	if security.TokenFile == "" {
		return options, nil
	}
	if security.CAFile == "" && !isLocal(address) {
		return nil, fmt.Errorf("a token is sent by plain text to this machine only: set TALLYGATE_CA")
	}
	token, err := os.ReadFile(security.TokenFile)
	if err != nil {
		return nil, err
	}
	return append(options, grpc.WithPerRPCCredentials(bearer(strings.TrimSpace(string(token))))), nil
}

func (security Security) transport() (credentials.TransportCredentials, error) {
	if security.CAFile == "" {
		return insecure.NewCredentials(), nil
	}
	authorities, err := os.ReadFile(security.CAFile)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", security.CAFile)
	}
	if security.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(security.CertFile, security.KeyFile)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}

func isLocal(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && (host == "localhost" || net.ParseIP(host).IsLoopback())
}

// bearer is a token that goes with each call.
type bearer string

func (token bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(token)}, nil
}

// RequireTransportSecurity is false, since options has seen to it.
func (token bearer) RequireTransportSecurity() bool {
	return false
}

// Asks an upstream whether a request's bearer token is good, and remembers for some time that
// it was. A request passes with x-user, or is answered with 401.
//
//	{ "upstream": "auth", "path": "/introspect", "ttl_seconds": 60 }
package main

import (
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"
)

const callTimeoutMs = 500

func main() {}

func init() {
	proxywasm.SetPluginContext(func(uint32) types.PluginContext { return &plugin{} })
}

type config struct {
	Upstream   string `json:"upstream"`
	Path       string `json:"path"`
	TTLSeconds int64  `json:"ttl_seconds"`
}

type plugin struct {
	types.DefaultPluginContext
	config config
	asked  proxywasm.MetricCounter
}

func (p *plugin) OnPluginStart(int) types.OnPluginStartStatus {
	data, err := proxywasm.GetPluginConfiguration()
	if err == nil {
		err = json.Unmarshal(data, &p.config)
	}
	if err != nil || p.config.Upstream == "" || p.config.Path == "" {
		proxywasm.LogErrorf("the configuration wants upstream and path: %v", err)
		return types.OnPluginStartStatusFailed
	}
	p.asked = proxywasm.DefineCounterMetric("token_auth_asked")
	return types.OnPluginStartStatusOK
}

func (p *plugin) NewHttpContext(uint32) types.HttpContext { return &stream{plugin: p} }

type stream struct {
	types.DefaultHttpContext
	plugin *plugin
}

func (s *stream) OnHttpRequestHeaders(int, bool) types.Action {
	// What a client claims of itself is not for the upstream.
	_ = proxywasm.RemoveHttpRequestHeader("x-user")
	authorization, _ := proxywasm.GetHttpRequestHeader("authorization")
	token, isBearer := strings.CutPrefix(authorization, "Bearer ")
	if !isBearer || token == "" {
		return deny("a bearer token is required")
	}
	if user, ok := remembered(token); ok {
		_ = proxywasm.ReplaceHttpRequestHeader("x-user", user)
		return types.ActionContinue
	}
	config := s.plugin.config
	headers := [][2]string{
		{":method", "POST"}, {":path", config.Path}, {":authority", config.Upstream},
		{"authorization", authorization},
	}
	_, err := proxywasm.DispatchHttpCall(config.Upstream, headers, nil, nil, callTimeoutMs,
		func(_, size, _ int) { s.answered(token, size) })
	if err != nil {
		proxywasm.LogErrorf("%s cannot be called: %v", config.Upstream, err)
		return unavailable()
	}
	s.plugin.asked.Increment(1)
	return types.ActionPause
}

// answered is called in this stream's place when the upstream has answered, or has not.
func (s *stream) answered(token string, size int) {
	headers, _ := proxywasm.GetHttpCallResponseHeaders()
	status := ""
	for _, header := range headers {
		if header[0] == ":status" {
			status = header[1]
		}
	}
	switch {
	case status == "200":
		user, _ := proxywasm.GetHttpCallResponseBody(0, size)
		remember(token, string(user), time.Duration(s.plugin.config.TTLSeconds)*time.Second)
		_ = proxywasm.ReplaceHttpRequestHeader("x-user", string(user))
		_ = proxywasm.ResumeHttpRequest()
	case status == "401" || status == "403":
		deny("the token is not good")
	default:
		proxywasm.LogWarnf("%s has answered [%s]", s.plugin.config.Upstream, status)
		unavailable()
	}
}

func deny(why string) types.Action {
	headers := [][2]string{{"www-authenticate", "Bearer"}}
	_ = proxywasm.SendHttpResponse(401, headers, []byte(why), -1)
	return types.ActionPause
}

func unavailable() types.Action {
	_ = proxywasm.SendHttpResponse(503, nil, []byte("try again"), -1)
	return types.ActionPause
}

// What is kept of a token: when it ends, in nanoseconds since the epoch, and whose it is.
func remember(token, user string, ttl time.Duration) {
	value := binary.LittleEndian.AppendUint64(nil, uint64(time.Now().Add(ttl).UnixNano()))
	_ = proxywasm.SetSharedData("token/"+token, append(value, user...), 0)
}

func remembered(token string) (string, bool) {
	value, _, err := proxywasm.GetSharedData("token/" + token)
	if err != nil || len(value) < 8 {
		return "", false
	}
	end := int64(binary.LittleEndian.Uint64(value))
	return string(value[8:]), time.Now().UnixNano() < end
}

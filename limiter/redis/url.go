package redis

import (
	"errors"
	"net/url"

	"github.com/redis/rueidis"
)

func parse(text string) (rueidis.ClientOption, error) {
	if _, err := url.Parse(text); err != nil {
		return rueidis.ClientOption{}, errors.New("the URL of Redis cannot be read") // err has the password
	}
	opt, err := rueidis.ParseURL(text)
	if err != nil {
		return opt, err
	}
	opt.DisableCache = true
	opt.DisableRetry = true
	opt.AlwaysPipelining = true
	opt.PipelineMultiplex = -1
	opt.RingScaleEachConn = ringScale
	opt.ReadBufferEachConn, opt.WriteBufferEachConn = buffer, buffer
	opt.ConnWriteTimeout = answerTimeout
	opt.Dialer.Timeout, opt.Dialer.KeepAlive = dialTimeout, pingEvery
	opt.Sentinel.Dialer = opt.Dialer
	opt.ClientName, opt.Sentinel.ClientName = "neko", "neko"
	return opt, nil
}

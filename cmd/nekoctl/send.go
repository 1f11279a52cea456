package main

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nekoctl/neko/supervisor/control"
	"github.com/nekoctl/neko/supervisor/logs"
)

const sendHelp = `Send a line to the standard input of processes.

Usage:
    nekoctl send NAME | ID LINE
    nekoctl send NAME | ID --message JSON

Options:
        --message JSON  send a message instead: a program of Node's gets it by
                        process.on('message')

With a NAME all processes of the app get it.

Examples:
    $ nekoctl send 0 reload-config
    $ nekoctl send web --message '{"topic":"flags","data":{"beta":true}}'
`

func (c *cli) sendCommand() *cobra.Command {
	var message string
	cmd := &cobra.Command{
		Use:               "send",
		Long:              sendHelp,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			request := control.SendRequest{}
			switch asMessage := cmd.Flags().Changed("message"); {
			case asMessage && len(args) == 1:
				if !json.Valid([]byte(message)) {
					return &usageError{"--message: expected JSON, not " + quote(message), `a text is JSON in quotes: --message '"hello"'`}
				}
				request.Message = json.RawMessage(message)
			case !asMessage && len(args) == 2:
				request.Text = args[1] + "\n"
			default:
				return misuse("send", "send takes the name or the id of a process, and a line: nekoctl send 0 'a line'")
			}
			request.Targets = args[:1]
			client, err := c.client()
			if err != nil {
				return err
			}
			return client.Send(cmd.Context(), request)
		},
	}
	cmd.Flags().StringVar(&message, "message", "", "")
	return cmd
}

const attachHelp = `Be at the other end of a process: what you type goes to its standard input, line
by line, and what it prints is shown. Ctrl-C ends that, and not the process.

Usage:
    nekoctl attach NAME | ID

With a NAME: of an app that has one process.

Examples:
    $ nekoctl attach 0
`

func (c *cli) attachCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "attach",
		Long:              attachHelp,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misuse("attach", "attach takes the name or the id of one process")
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			if err := c.oneProcess(cmd, client, args[0]); err != nil {
				return err
			}
			want, err := c.wantedLogs(cmd.Context(), args)
			if err != nil {
				return err
			}
			style := lineStyle{out: c.out, raw: true}
			f := &logs.Follower{Find: logs.In(c.home.Logs(), want), Show: style.print}
			if err := f.Begin(logs.Query{}); err != nil {
				return err
			}
			c.note("attached to %s; Ctrl-C ends that", args[0])
			sent := make(chan error, 1)
			go func() { sent <- typed(cmd, client, args[0]) }()
			followed := make(chan error, 1)
			go func() { followed <- f.Follow(cmd.Context()) }()
			for {
				select {
				case err := <-followed:
					return err
				case err := <-sent:
					if err != nil {
						return err
					}
					sent = nil // our input is at its end; the process may still answer
				}
			}
		},
	}
}

// oneProcess sees that a target is one process that runs.
func (c *cli) oneProcess(cmd *cobra.Command, client *control.Client, target string) error {
	list, err := client.Processes(cmd.Context())
	if err != nil {
		return err
	}
	list, _, err = control.Choose(list, target)
	if err != nil {
		return err
	}
	var ids []string
	for _, p := range list {
		ids = append(ids, strconv.Itoa(p.ID))
	}
	if len(ids) > 1 {
		return failed("nekoctl attach "+ids[0], "%s has %d processes: %s", target, len(ids), strings.Join(ids, ", "))
	}
	return nil // that there is none says whoever looks for its logs
}

// typed sends what is typed, as it comes.
func typed(cmd *cobra.Command, client *control.Client, target string) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := cmd.InOrStdin().Read(buf)
		if n > 0 {
			request := control.SendRequest{Targets: []string{target}, Text: string(buf[:n])}
			if err := client.Send(cmd.Context(), request); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

const triggerHelp = `Run an action that a program of Node's offers by @pm2/io, and print what it
returns. nekoctl describe shows which there are.

Usage:
    nekoctl trigger NAME | ID | all ACTION [PARAMETER]

Options:
        --timeout TIME  how long to wait for the answers; 10s
        --json          print JSON: a list of name, id, value

Examples:
    $ nekoctl trigger web heapdump
    $ nekoctl trigger 0 log-level debug
`

func (c *cli) triggerCommand() *cobra.Command {
	var asJSON bool
	timeout := 10 * time.Second
	cmd := &cobra.Command{
		Use:               "trigger",
		Long:              triggerHelp,
		ValidArgsFunction: c.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 || len(args) > 3 {
				return misuse("trigger", "trigger takes the name or the id of a process, an action, and a parameter if the action has one")
			}
			if timeout <= 0 || timeout > time.Hour {
				return misuse("trigger", "--timeout: expected a time up to 1h, not %v", timeout)
			}
			request := control.TriggerRequest{Targets: args[:1], Action: args[1], TimeoutMS: timeout.Milliseconds()}
			if len(args) == 3 {
				text, err := json.Marshal(args[2]) // PM2 sends it as a text, too
				if err != nil {
					return err
				}
				request.Parameter = text
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			replies, err := client.Trigger(cmd.Context(), request)
			if asJSON {
				if replies == nil {
					replies = []control.Reply{}
				}
				return errors.Join(c.json(replies), err)
			}
			for _, r := range replies {
				c.say("%s:%d = %s", r.Name, r.ID, printable(string(r.Value)))
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "")
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "")
	return cmd
}

package ecosystem

// Convert is the neko.yaml that starts the same apps. What it cannot say is in notes.
func Convert(configs []*Config, o Options) (yaml []byte, notes []string, err error) {
	return nil, nil, nil
}

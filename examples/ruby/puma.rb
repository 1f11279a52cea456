bind_to_activated_sockets "only" # those of LISTEN_FDS
threads 1, 32 # one for each connection that is kept: puma 5 gives a thread to a busy one and accepts nothing when there is none left
persistent_timeout 2 # of an idle connection; shorter than the wait in config.ru
raise_exception_on_sigterm false # an orderly end is an exit with 0

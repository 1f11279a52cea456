run(lambda { |env| [200, { "content-type" => "text/plain" }, ["hello from #{Process.pid}\n"]] })

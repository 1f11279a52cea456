draining = false

# When puma stops it closes idle connections at once. So it is stopped a while
# after its answers have begun to say that they are the last on their connection.
stop = trap("TERM", "IGNORE")
trap("TERM") do
  next if draining
  draining = true
  Thread.new { sleep 3; stop.call }
end

run(lambda do |env|
  headers = { "content-type" => "text/plain" }
  headers["connection"] = "close" if draining
  [200, headers, ["hello from #{Process.pid}\n"]]
end)

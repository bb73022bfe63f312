# Ruby's Net::HTTP: `ruby ask.rb http://IP:8080 keep|close ITEM…`.
require 'digest'
require 'net/http'

url, mode, *items = ARGV
uri = URI(url)
connect = -> { Net::HTTP.start(uri.host, uri.port) }
http = connect.call
items.each do |item|
  http = connect.call if mode == 'close'
  answer = item.start_with?('+') ? http.post('/', File.binread(item[1..])) : http.get("/#{item}")
  puts "#{item} #{answer.body.to_s.bytesize} #{Digest::SHA256.hexdigest(answer.body.to_s)}"
  http.finish if mode == 'close'
end

# Files of its folder, for servers that speak Rack.
run(lambda do |env|
  name = env['PATH_INFO'][1..]
  body = env['REQUEST_METHOD'] == 'POST' ? env['rack.input'].read : File.binread(name.sub('chunked/', ''))
  next [200, { 'content-length' => body.bytesize.to_s }, [body]] unless name.start_with?('chunked/')

  [200, {}, body.bytes.each_slice(16_384).lazy.map { |piece| piece.pack('C*') }]
end)

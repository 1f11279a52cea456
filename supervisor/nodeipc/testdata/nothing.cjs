process.send('runs')
setInterval(() => {}, 1000)

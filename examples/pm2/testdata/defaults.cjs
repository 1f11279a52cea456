'use strict'
// Loaded before a program that asks with inquirer: answers as who only presses Enter.

const { createRequire } = require('node:module')

const inquirer = createRequire(process.argv[1])('inquirer')
inquirer.prompt = async (questions) => Object.fromEntries(questions.map((question) => [question.name, question.default]))

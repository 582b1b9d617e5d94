"use client"
export {}

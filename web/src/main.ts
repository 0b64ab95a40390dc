import { mount } from 'svelte';
import App from './App.svelte';
import { live } from './api/stream.svelte';
import { parseRoute } from './lib/route';
import './styles/base.css';

live.start(parseRoute(location.hash).view['all'] === '1');

const target = document.getElementById('app');
if (target) mount(App, { target });
